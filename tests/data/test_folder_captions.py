"""Captions of a folder: three forms, one origin for each video, and everything wrong is named."""

import json

import pytest

from sora_jax.data.folder_captions import read_folder_captions
from sora_jax.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Three videos (of no content: captions are read by names) with captions of three forms."""
    (tmp_path / "deep").mkdir()
    for name in ("a.mp4", "b.mov", "deep/c.webm"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.txt").write_text("one\n two  words \n")
    (tmp_path / "b.json").write_text(json.dumps({"captions": ["three", "four"]}))
    (tmp_path / "captions.csv").write_text(
        'file,caption,split\ndeep/c.webm,"five, six",val\na.mp4,,train\n'
    )
    (tmp_path / "README.txt").write_text("about the folder")
    return tmp_path


def videos(folder):
    return [folder / name for name in ("a.mp4", "b.mov", "deep/c.webm")]


def test_three_forms(folder):
    found = read_folder_captions(folder, videos(folder))
    a, b, c = videos(folder)
    assert found.captions == {a: ("one", "two words"), b: ("three", "four"), c: ("five, six",)}
    assert found.splits == {c: "val", a: "train"}


def test_videos_without_one_are_listed_or_get_one(folder):
    (folder / "a.txt").unlink()
    with pytest.raises(UserError, match=r"1 of 3 videos have no caption: a\.mp4; write NAME\.txt"):
        read_folder_captions(folder, videos(folder))
    found = read_folder_captions(folder, videos(folder), "a clip")
    assert found.captions[folder / "a.mp4"] == ("a clip",)
    assert found.captions[folder / "b.mov"] == ("three", "four")


def test_many_names_are_counted(folder):
    more = [folder / f"{i:02d}.mp4" for i in range(20)]
    with pytest.raises(UserError, match=r"20 of 23 videos .* 00.mp4, .* and 12 more; write"):
        read_folder_captions(folder, [*videos(folder), *more])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '"again"', r"two captions for one file: a\.mp4; keep one of"),
        ("captions.csv", "file,caption\na.mp4,x\n", r"two captions for one file: a\.mp4"),
        ("captions.csv", "file,split\na.mp4,val\na.mp4,train\n", "names a.mp4 twice; keep one row"),
        ("captions.csv", "file,caption\nz.mp4,x\n", "not there: .* names z.mp4; correct the names"),
        ("captions.csv", "name,text\n", "has no columns file and caption; write file,caption"),
        ("captions.csv", "file,split\na.mp4,test\n", "line 2: split 'test'; use train or val"),
        ("lost.txt", "x", r"captions for files that are not there: lost\.txt; give each the name"),
        ("b.json", "{", "is not JSON"),
    ],
)
def test_what_is_wrong_is_named(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_folder_captions(folder, videos(folder), "otherwise")
