"""The video_folder set, from a directory such as users have: mixed, partly silent, partly
broken.
"""

import dataclasses
import json
import os

import numpy as np
import pytest

from sora_jax import mp4
from sora_jax.clip import Clip
from sora_jax.data import video_folder
from sora_jax.data.named_sources import SOURCES, Selection
from sora_jax.data.video_records import VideoFolderSource
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.training.data_config import SetConfig

SMALL = ClipFormat(frames=5, fps=8, height=32, width=32)


def noise(frames, height, width, seed):
    """A still of soft colours: survives h264, differs by seed."""
    corners = np.random.default_rng(seed).random((2, 2, 3))
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][..., None]
    still = (1 - y) * ((1 - x) * corners[0, 0] + x * corners[0, 1]) + y * (
        (1 - x) * corners[1, 0] + x * corners[1, 1]
    )
    return np.broadcast_to(still, (frames, height, width, 3)).astype(np.float32)


def tone(seconds):
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * 16000)) / 16000).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("my videos")
    (folder / "deep" / "er").mkdir(parents=True)
    mp4.write_mp4(folder / "long.mp4", Clip(noise(40, 48, 64, 0), tone(2.0), 20))
    (folder / "long.txt").write_text("a soft picture\n\n  a   gradient \n")
    mp4.write_mp4(folder / "deep" / "silent.mov", Clip(noise(8, 33, 31, 1), None, 8))
    (folder / "deep" / "silent.json").write_text(json.dumps({"caption": "grüße"}), encoding="utf-8")
    mp4.write_mp4(folder / "deep" / "er" / "short.MP4", Clip(noise(2, 32, 32, 2), tone(0.25), 8))
    (folder / "deep" / "er" / "short.json").write_text("{not json")
    (folder / "garbage.mp4").write_bytes(np.random.default_rng(0).bytes(3000))
    whole = (folder / "long.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (folder / "notes.txt").write_text("not a video")
    (folder / ".hidden.mp4").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    return video_folder.build(
        tmp_path_factory.mktemp("sets"), video_folder.VideoFolderConfig(str(folder), SMALL)
    )


def all_records(directory):
    records = {}
    for split in ("train", "val"):
        part, format = video_folder.open_records(directory, split)
        assert format == SMALL
        records |= {part[i]["key"]: {**part[i], "split": split} for i in range(len(part))}
    return records


def test_every_readable_clip_is_there(built):
    records = all_records(built[0])
    # 2 s of long.mp4 hold three whole clips of 0.625 s; the others give one each.
    assert sorted(records) == [
        "deep/er/short.MP4#0",
        "deep/silent.mov#0",
        "long.mp4#0",
        "long.mp4#1",
        "long.mp4#2",
    ]
    assert {r["split"] for r in records.values()} == {"train", "val"}
    assert len({records[f"long.mp4#{i}"]["split"] for i in range(3)}) == 1, (
        "clips of one file must share a split"
    )
    for i, record in enumerate(records[f"long.mp4#{i}"] for i in range(3)):
        assert record["start"] == pytest.approx(0.625 * i) and record["has_audio"]
        assert record["captions"] == ("a soft picture", "a gradient")
        assert record["frames"].shape == (5, 32, 32, 3) and record["frames"].dtype == np.uint8
        assert np.abs(record["frames"] / 255.0 - noise(5, 48, 64, 0)[:, 8:40, 16:48]).mean() < 0.15
    sound = np.concatenate([records[f"long.mp4#{i}"]["samples"] for i in range(3)]) / 32767.0
    assert np.abs(sound - tone(1.875)).max() < 0.1, (
        "sound of consecutive clips joins without a seam"
    )


def test_silent_and_short_files_are_kept_and_marked(built):
    records = all_records(built[0])
    silent, short = records["deep/silent.mov#0"], records["deep/er/short.MP4#0"]
    assert (
        not silent["has_audio"] and not silent["samples"].any() and silent["captions"] == ("grüße",)
    )
    assert (
        short["has_audio"]
        and short["captions"] == ("",)
        and any("held" in note for note in short["notes"])
    )
    assert np.abs(silent["frames"] / 255.0 - noise(5, 32, 32, 1)).mean() < 0.05


def test_broken_files_are_counted_and_named(built, folder):
    report = built[1]
    assert report["files"] == 5 and report["silent"] == 1 and report["without_caption"] == 1
    assert sum(report["clips"].values()) == 5
    reasons = {row["file"]: row["reason"] for row in report["skipped"]}
    assert set(reasons) == {"garbage.mp4", "cut.mp4"} and "ends after" in reasons["cut.mp4"]
    assert [row["file"] for row in report["captions_skipped"]] == ["deep/er/short.MP4"]
    text = video_folder.summary(report)
    assert (
        "2 files skipped" in text
        and "garbage.mp4" in text
        and str(folder) not in text.split("caption of")[0]
    )


def test_a_changed_directory_is_another_set(folder, built, tmp_path):
    def name(**options):
        return video_folder.VideoFolderConfig(
            **{"path": str(folder), "format": SMALL, **options}
        ).name

    assert (
        name()
        == built[0].parent.name
        == video_folder.set_name(built[0], SMALL)
        == video_folder.set_name(folder, SMALL)
    )
    os.utime(folder / "long.mp4", (1, 1))
    assert name() == built[0].parent.name, "touched is not changed"
    assert (
        name(format=ClipFormat(frames=9, fps=8, height=32, width=32))
        != name()
        != name(clips_per_file=1)
    )
    before = name()
    (folder / "deep" / "silent.txt").write_text("another caption")
    assert name() != before
    (folder / "deep" / "silent.txt").unlink()


@pytest.mark.parametrize(
    "text",
    ['"a"', '["a"]', '{"caption": "a"}', '{"captions": ["a"]}', '{"seed": 0, "prompt": "a"}'],
)
def test_captions_in_json(tmp_path, text):
    (tmp_path / "v.json").write_text(text)
    assert video_folder.read_captions(tmp_path / "v.mp4") == ["a"]


def test_one_readable_file_is_enough_and_none_is_an_error(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "bad.mp4").write_bytes(b"x" * 100)
    config = video_folder.VideoFolderConfig(str(tmp_path / "videos"), SMALL)
    with pytest.raises(UserError, match=r"none of the 1 videos.*bad\.mp4"):
        video_folder.build(tmp_path / "sets", config)
    mp4.write_mp4(tmp_path / "videos" / "good.mp4", Clip(noise(5, 32, 32, 0), tone(0.625), 8))
    directory, report = video_folder.build(
        tmp_path / "sets", video_folder.VideoFolderConfig(str(tmp_path / "videos"), SMALL)
    )
    assert report["clips"] == {"train": 1} and len(report["skipped"]) == 1
    with pytest.raises(UserError, match="no split 'val'"):
        video_folder.open_records(directory, "val")
    for path, message in ((tmp_path / "nothing", "no directory"), (tmp_path / "sets", "no video")):
        with pytest.raises(UserError, match=message):
            video_folder.build(tmp_path / "sets", video_folder.VideoFolderConfig(str(path), SMALL))


def test_source_yields_model_ready_clips(built):
    source = VideoFolderSource(built[0], "train", batch_size=2)
    batches = list(source(0))
    assert sum(len(b["keys"]) for b in batches) == len(source)
    assert next(source(1))["keys"][0] == batches[0]["keys"][1]
    for batch in batches:
        assert (
            batch["frames"].dtype == np.float32
            and 0 <= batch["frames"].min() <= batch["frames"].max() <= 1
        )
        assert batch["samples"].shape[1] == SMALL.samples and batch["has_audio"].dtype == bool


def test_letterboxed_clips_are_another_set(folder, built, tmp_path):
    (tmp_path / "videos").mkdir()
    mp4.write_mp4(tmp_path / "videos" / "wide.mp4", Clip(1 - noise(9, 32, 64, 0) / 2, None, 8))
    config = video_folder.VideoFolderConfig
    path = str(tmp_path / "videos")
    crop, boxed = config(path, SMALL), config(path, SMALL, fit="letterbox")
    assert crop.name == config(path, SMALL, fit="crop").name != boxed.name
    assert video_folder.set_name(path, SMALL, "letterbox") == boxed.name
    directory, _ = video_folder.build(tmp_path / "sets", boxed)
    record = video_folder.open_records(directory)[0][0]
    frames = record["frames"]
    assert frames[:, 8:24].min() > 60 and not frames[:, :8].any() and not frames[:, 24:].any()
    assert "frames of 64 x 32 letterboxed to 32 x 32" in record["notes"]
    for built_as, fit in ((directory, "crop"), (built[0], "letterbox")):
        with pytest.raises(UserError, match=f"not {fit}; give that, or build another"):
            video_folder.built_set(built_as, tmp_path / "unused", SMALL, fit)
    assert video_folder.built_set(directory, tmp_path, SMALL, "letterbox") == directory
    with pytest.raises(ValueError, match="fit='stretch'; use crop or letterbox"):
        config(path, SMALL, fit="stretch")


def test_a_source_letterboxes(tmp_path):
    (tmp_path / "videos").mkdir()
    mp4.write_mp4(tmp_path / "videos" / "wide.mp4", Clip(1 - noise(9, 32, 64, 0) / 2, None, 8))
    one = SetConfig("video_folder", str(tmp_path / "videos"), fps=8, seconds=0.6, fit="letterbox")
    assert one.name == "videos@nano-8fps-0.6s-letterbox"
    named, selection = SOURCES["video_folder"], one.selection()
    source = named.open(selection, tmp_path / "sets")
    assert source.identity == named.identify(selection)
    assert source.identity != named.identify(dataclasses.replace(selection, fit="crop"))
    frames = next(source(0))["frames"]
    assert frames[:, :, 16:48].min() > 0.25 and not frames[:, :, :16].any()
    with pytest.raises(UserError, match="playhouse renders its scenes in the format"):
        SOURCES["playhouse"].identify(Selection(fit="letterbox"))
    for values, message in (
        ({"fit": "letterbox"}, "playhouse fits no frames"),
        ({"fit": "stretch"}, "use 'crop' or 'letterbox'"),
    ):
        with pytest.raises(ValueError, match=message):
            SetConfig(**values)
