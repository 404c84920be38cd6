"""The digest of a set of files: of their names and contents, and of nothing else."""

import os
import shutil

import pytest

from sora_jax.data import digest as digest_lib
from sora_jax.errors import UserError


def test_digest_is_of_names_and_contents(tmp_path):
    folder = tmp_path / "a"
    (folder / "deep").mkdir(parents=True)
    (folder / "x").write_bytes(b"1" * 100)
    (folder / "deep" / "y").write_bytes(b"2" * (digest_lib.HEAD + 10))
    of = lambda folder: digest_lib.digest(folder, [p for p in folder.rglob("*") if p.is_file()])
    first = of(folder)
    os.utime(folder / "x", (1, 1))
    assert of(shutil.copytree(folder, tmp_path / "b")) == of(folder) == first and len(first) == 12
    (folder / "x").write_bytes(b"1" * 99 + b"3")
    changed = of(folder)
    (folder / "x").write_bytes(b"1" * 101)
    longer = of(folder)
    (folder / "x").rename(folder / "z")
    assert len({first, changed, longer, of(folder)}) == 4
    with pytest.raises(UserError, match=r"cannot read .*absent"):
        digest_lib.digest(folder, [folder / "absent"])
