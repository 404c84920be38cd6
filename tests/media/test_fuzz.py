"""Damaged files end in one line, and a set is built beside them."""

import os

import pytest
from films import click, quarters, write
from fuzz_files import FILMS, SMALL, fates, make_files

from sora_jax.data import video_folder


def check(folder, count):
    found = fates(make_files(folder, count, seed=0))
    assert not found["wrong"], found["wrong"]
    # A crash is survived and named; none is known.
    assert not found["crashed"], found["crashed"]
    assert found["read"] and found["refused"]


def test_sixty_damaged_files(tmp_path, capfd):
    check(tmp_path, 60)
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err and "Warning" not in out + err


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_thousand_damaged_files(tmp_path):
    check(tmp_path, 1000)


def test_a_set_beside_damaged_files(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for path in make_files(tmp_path, 40, seed=1):
        if path.suffix[1:] in FILMS:
            path.rename(videos / path.name)
    write(videos / "good.mp4", [quarters(48, 64)] * 6, 8, sound=click(0.75))
    count = len(os.listdir(videos))
    config = video_folder.VideoFolderConfig(str(videos), SMALL)
    directory, report = video_folder.build(tmp_path / "sets", config)
    names = {row["file"] for row in report["skipped"]}
    assert report["files"] == count and 0 < len(names) < count and "good.mp4" not in names
    keys = set()
    for split in report["clips"]:
        records, _ = video_folder.open_records(directory, split)
        keys |= {records[i]["key"].split("#")[0] for i in range(len(records))}
    assert keys | names == set(os.listdir(videos))
    left = [name for _, _, files in os.walk(tmp_path / "sets") for name in files]
    assert not any("incomplete" in name or name.endswith(".part") for name in left), left
