"""Clips of one modality: Playhouse rendered in the step and stored clips scaled give what every
other reader of them sees.
"""

import json

import jax
import numpy as np
import pytest

from sora_jax import mp4
from sora_jax.clip import Clip
from sora_jax.data import tokenizer_clips, video_folder
from sora_jax.data.named_sources import SOURCES, Selection
from sora_jax.data.sources import PlayhouseSource
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.takes import render_batch

SMALL = ClipFormat(frames=5, fps=8, height=32, width=32)
KEYS = {tokenizer_clips.VIDEO: "frames", tokenizer_clips.AUDIO: "samples"}


def test_playhouse_clips_are_its_renders(tmp_path):
    wanted = render_batch([draw("train", i) for i in range(2)], FORMATS["nano"])
    for modality, key in KEYS.items():
        clips = tokenizer_clips.open_clips(
            modality, SOURCES["playhouse"], Selection(clips=3), tmp_path
        )
        assert clips.count == {"train": 3, "val": 3}
        np.testing.assert_allclose(
            jax.jit(clips.render)(clips.batch("train", range(2))), wanted[key], atol=1e-3
        )
        stream = iter(clips.batches(2, seed=4).to_iter_dataset())
        next(stream)
        state = json.loads(json.dumps(stream.get_state()))
        following = next(stream)
        stream.set_state(state)
        again = next(stream)
        assert following.keys() == again.keys() and all(
            np.array_equal(following[k], again[k]) for k in again
        )


def test_pictures_that_are_not_alike_make_batches(tmp_path):
    """One film has shapes, a camera or a style that another has not."""
    selection = Selection(clips=4, family="film")
    clips = tokenizer_clips.open_clips("video", SOURCES["playhouse"], selection, tmp_path)
    shown = clips.render(clips.batch("train", range(4)))
    wanted = [render_batch([draw("train", i, family="film")], FORMATS["nano"]) for i in range(4)]
    wanted = np.concatenate([batch["frames"] for batch in wanted])
    np.testing.assert_allclose(shown, wanted, atol=1e-3)


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
        UserError, match="no clip of the split train has audio; give more clips with audio"
    ):
        tokenizer_clips.video_clips(tokenizer_clips.AUDIO, directory)


def test_one_video_cannot_be_held_out(tmp_path):
    mp4.write_mp4(tmp_path / "videos" / "only.mp4", Clip(np.zeros((5, 32, 32, 3)), None, 8))
    directory = video_folder.built_set(tmp_path / "videos", tmp_path / "sets", SMALL)
    with pytest.raises(UserError, match=r"only one video.*give two or more"):
        tokenizer_clips.video_clips(tokenizer_clips.VIDEO, directory)


class Greys:
    """A source of one's own: clip i of a split is one grey, and silent where i is even."""

    name, identify = "greys", None

    def open(self, selection, folder):
        return GreyClips(selection)


class GreyClips:
    def __init__(self, selection):
        self.selection, self.format = selection, selection.format

    def __len__(self):
        return self.selection.clips

    def __call__(self, start=0):
        format, step = self.format, self.selection.batch_size
        for first in range(start, len(self), step):
            i = np.arange(first, min(first + step, len(self)))
            grey = i / 16 + 0.5 * (self.selection.split == "val")
            yield {
                "frames": np.ones((format.frames, 16, 16, 3)) * grey.reshape(-1, 1, 1, 1, 1),
                "samples": np.ones(format.samples) * grey[:, None],
                "has_audio": i % 2 > 0,
            }


@pytest.mark.parametrize(
    ("modality", "numbers"),
    [(tokenizer_clips.VIDEO, [0, 1, 2, 3, 4]), (tokenizer_clips.AUDIO, [1, 3])],
)
def test_a_source_of_ones_own_gives_whole_clips(tmp_path, modality, numbers):
    selection = Selection(format=SMALL, clips=5, batch_size=3)
    clips = tokenizer_clips.open_clips(modality, Greys(), selection, tmp_path)
    assert clips.count == {"train": len(numbers), "val": len(numbers)}
    for split, lightest in (("train", 0.0), ("val", 0.5)):
        shown = np.asarray(clips.render(clips.batch(split, range(len(numbers)))))
        shown = shown.reshape(len(numbers), -1)
        assert (shown == shown[:, :1]).all()
        assert shown[:, 0].tolist() == [lightest + i / 16 for i in numbers]
    if modality == tokenizer_clips.AUDIO:
        silent = Selection(format=SMALL, clips=1)
        with pytest.raises(UserError, match="no clip of the split train has audio"):
            tokenizer_clips.open_clips(modality, Greys(), silent, tmp_path)


@pytest.mark.parametrize("modality", [tokenizer_clips.VIDEO, tokenizer_clips.AUDIO])
def test_clips_of_several_shots_are_split_into_them(tmp_path, modality):
    """As the tokenizer encodes them."""
    of_shots = ClipFormat(frames=10, height=16, width=16, shots=(5, 5))
    selection = Selection(format=of_shots, clips=4)
    clips = tokenizer_clips.open_clips(modality, Greys(), selection, tmp_path)
    shown = clips.render(clips.batch("train", [0, 1]))
    if modality == tokenizer_clips.AUDIO:
        assert shown.shape == (2, of_shots.samples)
    else:
        assert shown.shape == (4, 5, 16, 16, 3)
        assert np.asarray(shown[:, 0, 0, 0, 0]).tolist() == [0, 0, 1 / 16, 1 / 16]


def test_opening_a_source_reads_it_once(tmp_path, monkeypatch):
    """Audio needs `has_audio` of all clips: one pass, not one iterator for each clip. Video needs
    none.
    """
    starts = []
    call = GreyClips.__call__
    monkeypatch.setattr(
        GreyClips, "__call__", lambda self, start=0: starts.append(start) or call(self, start)
    )
    selection = Selection(format=SMALL, clips=5)
    tokenizer_clips.open_clips(tokenizer_clips.VIDEO, Greys(), selection, tmp_path)
    assert starts == []
    tokenizer_clips.open_clips(tokenizer_clips.AUDIO, Greys(), selection, tmp_path)
    assert starts == [0, 0]


def test_a_source_made_of_playhouse_gives_its_own_clips(tmp_path):
    """What the step would render is not what a subclass yields."""

    class Dark(PlayhouseSource):
        def __call__(self, start=0):
            return (batch | {"frames": batch["frames"] * 0} for batch in super().__call__(start))

    class Night:
        def open(self, selection, folder):
            return Dark(selection.split, selection.format, selection.clips)

    clips = tokenizer_clips.open_clips("video", Night(), Selection(clips=2), tmp_path)
    assert clips.render(clips.batch("train", [1])).max() == 0.0
