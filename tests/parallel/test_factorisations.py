"""However eight devices are shared out, the loss and the gradients are those of one. In a process of its own: devices are counted once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def factorisations(devices: int, axes: int) -> list[tuple[int, ...]]:
    """Every way to write `devices` as an ordered product."""
    if axes == 1:
        return [(devices,)]
    return [(n, *rest) for n in range(1, devices + 1) if devices % n == 0 for rest in factorisations(devices // n, axes - 1)]


@pytest.mark.slow
def test_every_factorisation_of_data_fsdp_and_tensor():
    meshes = [(data, fsdp, 1, tensor) for data, fsdp, tensor in factorisations(8, 3)]
    assert len(meshes) == 10
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, str(Path(__file__).with_name("factorisations.py")), json.dumps(meshes)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)}, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(meshes)
    for row in rows:
        assert row["error"] <= 1e-5, row
        assert not row["unplaced"], row
