"""Writers of other libraries on a disk that is full: one line, as every other writer.

A limit on the size of files stands in for the disk, which C++ meets too.
"""

import os
import subprocess
import sys

import pytest

from sora_jax import files
from sora_jax.errors import UserError

CHECKPOINT = """
import resource, sys
import grain
import jax.numpy as jnp
from sora_jax.cli import run_main
from sora_jax.training.checkpoint import Checkpoints

def main(_):
    state = {"weights": jnp.arange(1 << 20, dtype=jnp.float32)}
    with Checkpoints(sys.argv[0] + ".checkpoints") as checkpoints:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        batches = iter(grain.MapDataset.range(9).to_iter_dataset())
        checkpoints.save(4, state, batches, wait=True)
run_main(main)
"""
RECORDS = """
import resource, sys
import numpy as np
from array_record.python import array_record_module
from sora_jax import files
from sora_jax.cli import run_main

def main(_):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    with files.replacing(sys.argv[0] + ".records") as partial:
        writer = array_record_module.ArrayRecordWriter(str(partial), "group_size:1,uncompressed")
        for _ in range(100):
            writer.write(np.random.default_rng(0).bytes(10_000))
        writer.close()
run_main(main)
"""


def run(tmp_path, body):
    (tmp_path / "main.py").write_text(body)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py")], capture_output=True, text=True
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-2000:]
    return done.stderr.strip()


def test_a_shard_of_records(tmp_path):
    assert run(tmp_path, RECORDS) == (
        f"error: cannot write {tmp_path}/main.py.records: File too large; choose another folder "
        "or free some space"
    )
    assert os.listdir(tmp_path) == ["main.py"]


@pytest.mark.slow
def test_a_checkpoint(tmp_path):
    assert run(tmp_path, CHECKPOINT).splitlines()[-1] == (
        f"error: the checkpoint of step 4 could not be written to {tmp_path}/main.py.checkpoints "
        "(File too large); make room"
    )


def test_other_errors_of_a_library_stay_as_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="a bug"), files.replacing(tmp_path / "a"):
        raise RuntimeError("a bug")
    with pytest.raises(UserError, match="No space left"), files.replacing(tmp_path / "a"):
        raise RuntimeError("write() failed: No space left on device; at byte 303104")
    assert os.listdir(tmp_path) == []
