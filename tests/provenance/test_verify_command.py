"""experiments.verify: what it says of a file, and its exit statuses."""

import subprocess
import sys

import numpy as np
import pytest

from sora_jax.clip import Clip
from sora_jax.provenance.authority import open_authority
from sora_jax.provenance.manifest import Statement
from sora_jax.provenance.write import publish

pytest.importorskip("c2pa")
pytest.importorskip("cryptography")


def verify(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.verify", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, authority flag) with a published clip, a changed one and one without anything."""
    folder = tmp_path_factory.mktemp("verify")
    authority = open_authority(folder / "authority")
    clip = Clip(np.full((4, 64, 64, 3), 120, np.uint8), np.zeros(20_000, np.float32), 4)
    publish(clip, folder / "good.mp4", authority, Statement("job_7", payload=0x1234ABCD))
    data = bytearray((folder / "good.mp4").read_bytes())
    data[data.index(b"mdat") + 60] ^= 1
    (folder / "changed.mp4").write_bytes(data)
    clip.save(folder / "bare.mp4")
    return folder, f"--authority={folder / 'authority'}"


def test_a_whole_file_is_status_0(made):
    folder, flag = made
    status, out, err = verify(flag, folder / "good.mp4")
    assert (status, err) == (0, "")
    for words in ("whole, by a trusted signer", "development authority", "job: job_7, created"):
        assert words in out
    assert out.count("1234abcd") == 3  # bound, picture, sound


def test_a_changed_file_is_status_1(made):
    folder, flag = made
    status, out, _ = verify(flag, f"--file={folder / 'changed.mp4'}")
    assert status == 1 and "CHANGED after it was signed" in out and "bmffHash.mismatch" in out


def test_without_an_authority_nobody_is_trusted(made):
    folder, _ = made
    status, out, _ = verify(f"--authority={folder / 'none'}", folder / "good.mp4")
    assert status == 1 and "no mark was searched" in out and not (folder / "none").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("bare.mp4", "neither manifest nor mark"), ("absent.mp4", "no such file"), ("", "no file;")],
)
def test_nothing_to_verify_is_status_2(made, name, words):
    folder, flag = made
    status, out, err = verify(flag, *([folder / name] if name else []))
    assert status == 2 and words in out + err and len(err.splitlines()) <= 1
