"""Whole files or none."""

import os

import pytest

from sora_jax import files
from sora_jax.errors import UserError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.json"
    files.write(path, "größe")
    assert path.read_bytes() == "größe".encode()
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as partial:
        partial.write_text("half of it")
        assert partial.parent == path.parent and path.read_text() == "größe", (
            "the old file stands until the new one is whole"
        )
        raise KeyboardInterrupt
    assert path.read_text() == "größe" and os.listdir(path.parent) == ["a.json"]
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match=r"cannot write .*b: .*; choose"):
        files.write(tmp_path / "file" / "b", b"")
    assert (tmp_path / "file").read_text() == "kept"


def test_the_bytes_are_on_the_disk_before_the_name_is_theirs(tmp_path, monkeypatch):
    """Between fsync and replace nothing else can be observed, so their order is: the old content
    still stands when fsync is called.
    """
    path, seen = tmp_path / "a", []
    path.write_text("old")
    monkeypatch.setattr(
        os, "fsync", lambda number: seen.append((path.read_text(), os.fstat(number).st_size))
    )
    files.write(path, "new words")
    assert seen == [("old", 9)] and path.read_text() == "new words"


def test_lines_of_a_text_file_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\xef\xbb\xbfa red ball\r\n\r\n a blue one \n")
    assert files.read_lines(path, "prompt") == ["a red ball", "a blue one"]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not text; give a text file with one prompt"):
        files.read_lines(path, "prompt")
    path.write_bytes(b"\xef\xbb\xbf\n")
    with pytest.raises(UserError, match="holds no prompt"):
        files.read_lines(path, "prompt")
