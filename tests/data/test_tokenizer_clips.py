"""Clips of one medium: Playhouse rendered in the step and stored clips scaled give what every other
reader of them sees.
"""

import json

import jax
import numpy as np
import pytest

from sora_jax import mp4
from sora_jax.clip import Clip
from sora_jax.data import tokenizer_clips, video_folder
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.takes import render_batch

SMALL = ClipFormat(5, 8, 32)
KEYS = {tokenizer_clips.VIDEO: "frames", tokenizer_clips.AUDIO: "samples"}


def test_playhouse_clips_are_its_renders():
    wanted = render_batch([draw("train", i) for i in range(2)], FORMATS["nano"])
    for medium, key in KEYS.items():
        clips = tokenizer_clips.playhouse_clips(medium, FORMATS["nano"], 3)
        np.testing.assert_allclose(
            jax.jit(clips.render)(clips.batch("train", range(2))), wanted[key], atol=1e-3
        )
        stream = clips.stream(2, seed=4)
        next(stream)
        state = json.loads(json.dumps(stream.get_state()))
        following = next(stream)
        stream.set_state(state)
        again = next(stream)
        assert following.keys() == again.keys() and all(
            np.array_equal(following[k], again[k]) for k in again
        )


def test_video_clips_are_those_of_the_set(tmp_path):
    """Silent files teach the picture and not the sound."""
    for i in range(6):
        sound = None if i % 2 else 0.1 * (i + 1) * np.sin(np.arange(SMALL.samples) * 0.1)
        mp4.write_mp4(
            tmp_path / "videos" / f"{i}.mp4", Clip(np.full((5, 32, 32, 3), 0.15 * i), sound, 8)
        )
    directory = video_folder.built_set(tmp_path / "videos", tmp_path / "sets", SMALL)
    assert (
        video_folder.built_set(directory, tmp_path / "unused", SMALL) == directory
        and not (tmp_path / "unused").exists()
    )
    with pytest.raises(UserError, match="give the format of the set"):
        video_folder.built_set(directory, tmp_path / "unused", FORMATS["nano"])
    records = {split: video_folder.open_records(directory, split)[0] for split in ("train", "val")}
    pictures = tokenizer_clips.video_clips(tokenizer_clips.VIDEO, directory)
    assert (
        pictures.count == {split: len(of) for split, of in records.items()}
        and sum(pictures.count.values()) == 6
    )
    shown = np.asarray(pictures.render(pictures.batch("train", range(pictures.count["train"]))))
    assert shown.shape == (pictures.count["train"], 5, 32, 32, 3)
    np.testing.assert_allclose(
        shown * 255, np.stack([records["train"][i]["frames"] for i in range(len(shown))]), atol=1e-3
    )
    loud = {
        split: sum(bool(of[i]["has_audio"]) for i in range(len(of)))
        for split, of in records.items()
    }
    sounds = tokenizer_clips.video_clips(tokenizer_clips.AUDIO, directory)
    assert sounds.count == loud and sum(loud.values()) == 3
    heard = np.asarray(sounds.render(sounds.batch("train", range(loud["train"]))))
    assert (
        heard.shape[1] == SMALL.samples
        and (np.abs(heard).max(1) > 0.05).all()
        and np.abs(heard).max() <= 1
    )


def test_sound_needs_sound(tmp_path):
    for i in range(2):
        mp4.write_mp4(
            tmp_path / "videos" / f"{i}.mp4", Clip(np.full((5, 32, 32, 3), 0.15 * i), None, 8)
        )
    directory = video_folder.built_set(tmp_path / "videos", tmp_path / "sets", SMALL)
    with pytest.raises(
        UserError, match="no clip of the split train .* has sound; give more videos with sound"
    ):
        tokenizer_clips.video_clips(tokenizer_clips.AUDIO, directory)


def test_one_video_cannot_be_held_out(tmp_path):
    mp4.write_mp4(tmp_path / "videos" / "only.mp4", Clip(np.zeros((5, 32, 32, 3)), None, 8))
    directory = video_folder.built_set(tmp_path / "videos", tmp_path / "sets", SMALL)
    with pytest.raises(UserError, match="one video.*give two or more"):
        tokenizer_clips.video_clips(tokenizer_clips.VIDEO, directory)
