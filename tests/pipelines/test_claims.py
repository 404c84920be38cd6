"""Names of clips: of any prompt, within the limits of file systems, and never given twice."""

import os
import subprocess
import sys

import pytest

from sora_jax.errors import UserError
from sora_jax.pipelines import record

CLAIM = """
import sys, time
from pathlib import Path
from sora_jax.pipelines import record
folder = Path(sys.argv[1])
while not (folder / "go").exists():
    time.sleep(0.001)
with record.free_path(folder, 0, "a red ball", 7) as path:
    path.write_text("mine")
    print(path.name)
"""


def taken(folder, title, index=0, seed=7):
    with record.free_path(folder, index, title, seed) as path:
        path.touch()
    return path.name


def test_a_name_is_claimed_until_it_is_written(tmp_path):
    """Two commands hold a name at the same time: the look-up of the second sees the first's."""
    with record.free_path(tmp_path, 0, "a red ball", 7) as first:
        with record.free_path(tmp_path, 0, "a red ball", 7) as second:
            assert (first.name, second.name) == (
                "000-a-red-ball-seed7.mp4",
                "000-a-red-ball-seed7-2.mp4",
            )
        assert taken(tmp_path, "a red ball") == "000-a-red-ball-seed7-2.mp4"
    with pytest.raises(KeyboardInterrupt), record.free_path(tmp_path, 1, "a", 7):
        raise KeyboardInterrupt
    assert sorted(os.listdir(tmp_path)) == ["000-a-red-ball-seed7-2.mp4"], "no claim is left"


def test_any_of_the_four_files_or_a_broken_link_takes_the_name(tmp_path):
    (tmp_path / "000-a-seed7.png").touch()
    (tmp_path / "000-a-seed7-2.latents.npz").touch()
    (tmp_path / "000-a-seed7-3.mp4").symlink_to(tmp_path / "absent")
    assert taken(tmp_path, "a") == "000-a-seed7-4.mp4"


@pytest.mark.slow
def test_eight_commands_at_once_have_eight_names(tmp_path):
    command = [sys.executable, "-c", CLAIM, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    (tmp_path / "go").touch()
    names = {process.communicate()[0].strip() for process in running}
    assert len(names) == 8 and all((tmp_path / name).read_text() == "mine" for name in names)


@pytest.mark.parametrize("title", ["a" * 300, "b" * 120 + " ball", " ".join(["c" * 60] * 6)])
def test_a_long_word_is_shortened_with_a_hash(tmp_path, title):
    name = taken(tmp_path, title)
    assert len(name) < 130 and name.endswith("-seed7.mp4")
    assert taken(tmp_path, title + "d") != name.replace(".mp4", "-2.mp4"), "the hash tells them"


def test_a_title_without_latin_letters_and_a_folder_that_is_absent(tmp_path):
    assert taken(tmp_path, "красный мяч \U0001f600") == "000-seed7.mp4"
    with pytest.raises(UserError, match=r"cannot write .*absent"):
        taken(tmp_path / "absent", "a")
