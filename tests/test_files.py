"""Whole files or none."""

import json
import os
import stat
import subprocess
import sys

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


def test_lines_of_a_text_file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\xef\xbb\xbfa red ball\r\n\r\n a blue one \n")
    assert files.read_lines(path, "prompt") == ["a red ball", "a blue one"]
    path.write_bytes(b"\xef\xbb\xbf\n")
    with pytest.raises(UserError, match="holds no prompt"):
        files.read_lines(path, "prompt")


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").write_text("old")
    for name in ("a", "new"):  # `new` does not exist yet
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
        files.write(tmp_path / name, "words")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "disk" / name).read_text() == "words"


def test_a_device_or_a_folder_is_never_replaced(tmp_path):
    """A pipe stands in for /dev/null, which a faulty writer would replace for the whole machine."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: it is a device; give the path of a file"):
        files.write(tmp_path / "pipe", "words")
    with pytest.raises(UserError, match="it is a folder; give the path of a file"):
        files.write(tmp_path, "words")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match=r"c.png: .*/file is a file; choose another folder$"):
        files.write(tmp_path / "file" / "b" / "c.png", "words")


def test_names_of_any_length_and_bytes(tmp_path):
    """The partial file's name also fits where the name itself just fits."""
    longest = "a" * 250 + ".json"
    files.write(tmp_path / longest, "{}")
    assert os.listdir(tmp_path) == [longest]
    with pytest.raises(UserError, match="File name too long; choose"):
        files.write(tmp_path / ("a" * 256), "{}")
    odd = os.fsdecode(b"caf\xe9")
    files.write(tmp_path / odd, "{}")
    assert sorted(os.listdir(os.fsencode(tmp_path)))[1] == b"caf\xe9"
    assert files.shown(odd) == "caf\\xe9" and files.shown("größe") == "größe"


@pytest.mark.parametrize("name", ["a" * 300, "ü" * 150, os.fsdecode(b"\xe9" * 300)])
def test_a_long_name_is_shortened_with_a_hash(name):
    short = files.shortened(name, 100)
    assert len(os.fsencode(short)) <= 100 and short.encode()
    assert (
        short != files.shortened(name + "b", 100) and files.shortened("a" * 100, 100) == "a" * 100
    )


def test_a_name_that_is_not_utf8_goes_through_json(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    files.write(tmp_path / "a.json", json.dumps({"file": name}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"file": name}


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    files.write("~/new/a", "words")
    assert (tmp_path / "new" / "a").read_text() == "words"
    assert files.check_output("output", "~/clips") == tmp_path / "clips"
    files.check_input("prompts_file", "~/new/a", "a file")
    assert files.read_lines("~/new/a", "prompt") == ["words"]
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError()))
    assert str(files.user_path("~/a")) == "~/a"


FULL = """
import resource, signal, sys
from sora_jax import files
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write(sys.argv[1], bytes(2000))
except files.UserError as error:
    print(error)
"""


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "a")], capture_output=True, text=True
    )
    assert done.stdout.startswith(f"cannot write {tmp_path}/a: File too large; choose another")
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_a_folder_is_held_by_one_process(tmp_path):
    def hold(folder):
        with files.locked(folder, "evaluating"):
            raise AssertionError("held twice, or without a folder")

    with files.locked(tmp_path, "evaluating"), pytest.raises(UserError) as refusal:
        hold(tmp_path)
    assert f"another process is evaluating in {tmp_path}; wait" in str(refusal.value)
    with files.locked(tmp_path, "evaluating"):
        pass
    with pytest.raises(UserError, match="cannot write"):
        hold(tmp_path / "absent")


def test_a_pipe_is_not_opened_to_look_at_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    files.check_input("prompts_file", str(tmp_path / "pipe"), "a file")  # would wait for ever
