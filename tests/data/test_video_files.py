"""Folders of videos as people have them: links, names of any bytes, captions of any editor."""

import functools
import os

import crashing_reader
import numpy as np
import pytest

from sora_jax import mp4
from sora_jax.clip import Clip
from sora_jax.data import video_files, video_folder
from sora_jax.errors import UserError
from sora_jax.media.worker import Worker
from sora_jax.modality import ClipFormat

SMALL = ClipFormat(frames=5, fps=8, height=32, width=32)


def film(path, value=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    mp4.write_mp4(path, Clip(np.full((5, 32, 32, 3), value, np.float32), None, 8))
    return path


def names(folder):
    return [p.relative_to(folder).as_posix() for p in video_files.find_videos(folder)]


def all_records(directory, report):
    out = []
    for split in report["clips"]:
        records, _ = video_folder.open_records(directory, split)
        out += [records[i] for i in range(len(records))]
    return out


def test_links_are_followed_and_each_file_is_found_once(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    film(mine / "a.mp4"), film(other / "deep" / "b.mp4")
    os.symlink("../other", mine / "more")
    os.symlink(".", mine / "circle")
    os.symlink("../../mine", other / "deep" / "back")
    assert names(mine) == ["a.mp4", "more/deep/b.mp4"]
    assert names(other) == ["deep/b.mp4", "deep/back/a.mp4"]


def test_linked_files(tmp_path):
    """A file has its own name where it is in the folder, and the name of a link otherwise."""
    film(tmp_path / "mine" / "z.mp4"), film(tmp_path / "other" / "b.mp4")
    os.symlink("z.mp4", tmp_path / "mine" / "a.mp4")
    os.symlink("../other/b.mp4", tmp_path / "mine" / "named.mp4")
    os.symlink("../other/b.mp4", tmp_path / "mine" / "twice.mp4")
    os.symlink("nowhere", tmp_path / "mine" / "broken.mp4")
    assert names(tmp_path / "mine") == ["broken.mp4", "named.mp4", "z.mp4"]


def test_many_links_among_folders_end(tmp_path):
    for i in range(12):
        film(tmp_path / f"f{i}" / f"{i}.mp4")
        for j in range(12):
            os.symlink(f"../f{j}", tmp_path / f"f{i}" / f"to{j}")
    assert len(names(tmp_path)) == 12


def test_a_set_of_linked_folders(tmp_path):
    film(tmp_path / "other" / "b.mp4"), film(tmp_path / "mine" / "a.mp4")
    (tmp_path / "other" / "b.txt").write_text("a grey film")
    os.symlink("../other", tmp_path / "mine" / "more")
    os.symlink("nowhere", tmp_path / "mine" / "broken.mp4")
    config = video_folder.VideoFolderConfig(str(tmp_path / "mine"), SMALL)
    directory, report = video_folder.build(tmp_path / "sets", config)
    assert [row["file"] for row in report["skipped"]] == ["broken.mp4"]
    assert "no such file" in report["skipped"][0]["reason"]
    records = all_records(directory, report)
    assert {r["key"]: r["captions"] for r in records} == {
        "a.mp4#0": ("",),
        "more/b.mp4#0": ("a grey film",),
    }


def test_names_that_are_not_utf8(tmp_path):
    names = (b"caf\xe9.mp4", b"\xff\xfe.mp4", b"\x82\xa0/\x82.mp4", "größer.mp4".encode())
    videos = tmp_path / "videos"
    for name in names:
        film(videos / os.fsdecode(name)).with_suffix(".txt").write_text("a grey film")
    bad = videos / os.fsdecode(b"bad\xe9.mp4")
    bad.write_bytes(b"no film")
    film(videos / os.fsdecode(b"a\xe9.mp4")).with_suffix(".txt").write_bytes(b"\xe9")
    config = video_folder.VideoFolderConfig(str(videos), SMALL)
    directory, report = video_folder.build(tmp_path / "sets", config)
    found = {r["key"]: r["captions"] for r in all_records(directory, report)}
    shown = {name.decode("utf-8", "backslashreplace") + "#0" for name in names}
    assert found == {r"a\xe9.mp4#0": ("",)} | dict.fromkeys(shown, ("a grey film",))
    text = video_folder.summary(report)
    assert text.encode("utf-8") and r"bad\xe9.mp4" in text and r"a\xe9.mp4" in text


@pytest.mark.slow
def test_a_file_that_crashes_its_decoder_is_skipped_by_name(tmp_path, monkeypatch):
    for name in ("good", "abort", "hang", "other"):
        film(tmp_path / "videos" / f"{name}.mp4")
    monkeypatch.setattr(video_folder, "read_clip", crashing_reader.read)
    monkeypatch.setattr(video_folder, "Worker", functools.partial(Worker, seconds=20))
    config = video_folder.VideoFolderConfig(str(tmp_path / "videos"), SMALL)
    directory, report = video_folder.build(tmp_path / "sets", config)
    reasons = {row["file"]: row["reason"] for row in report["skipped"]}
    assert set(reasons) == {"abort.mp4", "hang.mp4"}
    assert "SIGABRT" in reasons["abort.mp4"] and "longer than 20 s" in reasons["hang.mp4"]
    assert {r["key"] for r in all_records(directory, report)} == {"good.mp4#0", "other.mp4#0"}


ACCENTS = "grüße, 二人\n\n  a   film \n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_captions_of_any_editor(tmp_path, encoding, end):
    (tmp_path / "v.txt").write_bytes(ACCENTS.replace("\n", end).encode(encoding))
    assert video_files.read_captions(tmp_path / "v.mp4") == ["grüße, 二人", "a film"]
    (tmp_path / "v.json").write_bytes(f'{{"caption":{end}"größer"}}{end}'.encode(encoding))
    assert video_files.read_captions(tmp_path / "v.mp4") == ["größer"]


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("v.txt", "grüße".encode("latin-1"), "UTF-8"),
        ("v.txt", "grüße".encode("utf-16-le"), "UTF-8"),
        ("v.json", b"{not json", "not JSON"),
        ("v.json", b"[" * 100_000, "not JSON"),
        ("v.json", b"3", "holds no caption"),
        ("v.json", b'{"seed": 3}', "holds no caption"),
    ],
)
def test_captions_that_cannot_be_read(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        video_files.read_captions(tmp_path / "v.mp4")
    assert name in str(error.value) and "\n" not in str(error.value)
