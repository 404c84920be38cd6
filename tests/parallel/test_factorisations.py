"""However eight devices are shared out, the loss and the gradients are those of one.

In processes of their own: devices are counted once.
"""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType

from kernels import gpu_graph
from sora_jax.errors import UserError
from sora_jax.models.presets import PRESETS
from sora_jax.parallel import halo, sequence, topologies
from sora_jax.parallel.mesh import AXES, MeshConfig
from sora_jax.parallel.sequence import check_tokens
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def factorisations(devices: int, axes: int) -> list[tuple[int, ...]]:
    """Every way to write `devices` as an ordered product."""
    if axes == 1:
        return [(devices,)]
    return [
        (n, *rest)
        for n in range(1, devices + 1)
        if devices % n == 0
        for rest in factorisations(devices // n, axes - 1)
    ]


def on_eight_devices(program: str, *runs: list[str]) -> list[dict]:
    """The lines of JSON that a program of this folder prints, run with each list of arguments, all
    at once: they compile on one core each.
    """
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        # On a busy machine a device waits long for the others.
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
        " --xla_cpu_collective_call_terminate_timeout_seconds=800",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }

    def run(arguments: list[str]) -> str:
        command = [sys.executable, str(HERE / program), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=900
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    with ThreadPoolExecutor() as pool:
        return [
            json.loads(line) for printed in pool.map(run, runs) for line in printed.splitlines()
        ]


# Each axis alone but `data`, and mixed; the rest of all twenty is for `make test-exhaustive`.
SOME = [(1, 8, 1, 1), (1, 1, 8, 1), (1, 1, 1, 8), (1, 2, 2, 2)]
ACROSS = [(2, 1, 4, 1), (1, 2, 2, 2), (1, 1, 8, 1), (2, 2, 1, 2)]
CLIPS = [(2, 1, 4, 1), (1, 2, 2, 2), (8, 1, 1, 1), (2, 2, 2, 1)]


def exact(rows: list[dict], count: int) -> None:
    assert len(rows) == count
    for row in rows:
        assert row["error"] <= 1e-5, row
        assert not row.get("unplaced"), row


@pytest.mark.slow
def test_four_factorisations():
    """Of data x fsdp x seq x tensor; five latent frames, so that every `seq` above 1 pads them."""
    exact(on_eight_devices("factorisations.py", [json.dumps(SOME[:2])], [json.dumps(SOME[2:])]), 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attention", "meshes"),
    [
        ("pure", SOME[3:]),
        ("window", ACROSS[1:2]),
        pytest.param("pure", SOME, marks=pytest.mark.exhaustive),
        pytest.param("window", ACROSS, marks=pytest.mark.exhaustive),
    ],
    ids=lambda part: part if isinstance(part, str) else len(part),
)
def test_kernels_on_meshes(attention, meshes, monkeypatch):
    """The kernels of an H200, interpreted, each on its device's part of the tokens."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    # Threads of XLA. Each device holds one and waits for the others; a kernel's callback copies its
    # arrays in one more.
    monkeypatch.setenv("NPROC", "16")
    arguments = [
        [json.dumps(part), attention, "gpu"] for part in (meshes[::2], meshes[1::2]) if part
    ]
    rows = on_eight_devices("factorisations.py", *arguments)
    exact(rows, len(meshes))
    for row in rows:
        for op in ("temporal_attention", "gated_norm"):
            assert row["forms"][op] == ["triton"], row
        # the heads of the audio are too narrow for them
        for op in ("spatial_attention", "cross_attention"):
            assert row["forms"][op] == ["triton", "xla"], row


COMPILERS = {
    "h200:8": pytest.mark.skipif(
        not gpu_graph.installed(), reason="no compiler for GPUs; see kernels.gpu_graph --install"
    ),
    "v6e:4x4": pytest.mark.skipif(
        not importlib.util.find_spec("libtpu"), reason="libtpu is not installed"
    ),
}


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("topology", "attention", "op", "form", "calls"),
    [
        # forward and backward of attention along time or within windows, within frames and to
        # words; both of three norms
        pytest.param(
            "h200:8", "pure", "temporal_attention", "triton", 12, marks=COMPILERS["h200:8"]
        ),
        pytest.param(
            "h200:8", "window", "temporal_attention", "triton", 12, marks=COMPILERS["h200:8"]
        ),
        # forward and backward of attention along time and to words
        pytest.param(
            "v6e:4x4", "pure", "temporal_attention", "pallas_tpu", 4, marks=COMPILERS["v6e:4x4"]
        ),
        # forward and two kernels of the backward pass, of two blocks; forward and backward to words
        pytest.param(
            "v6e:4x4", "full", "spatial_attention", "pallas_tpu", 8, marks=COMPILERS["v6e:4x4"]
        ),
    ],
)
def test_kernels_need_no_collectives(topology, attention, op, form, calls, monkeypatch):
    """Compiled for absent devices: the program with kernels has their calls, and no collective more
    than the program without.
    """
    for name, value in topologies.environment(topology).items():
        monkeypatch.setenv(name, value)
    mesh = json.dumps([1 if topology == "h200:8" else 2, 2, 2, 2])
    with_kernels, without = on_eight_devices("islands.py", [topology, mesh, attention])
    assert form in with_kernels["forms"][op] and with_kernels["kernels"] == calls
    assert without["kernels"] == 0
    for kind, count in with_kernels["collectives"].items():
        assert count <= without["collectives"][kind], (kind, with_kernels, without)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_every_factorisation():
    meshes = factorisations(8, 4)
    assert len(meshes) == 20 and set(SOME) < set(meshes)
    exact(
        on_eight_devices(
            "factorisations.py", [json.dumps(meshes[::2])], [json.dumps(meshes[1::2])]
        ),
        20,
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, pytest.param(4, marks=pytest.mark.exhaustive)])
def test_factorisations_across_frames_and_sites(count):
    """Where tokens meet across frames and sites the heads are shared out instead; five latent
    frames again.
    """
    meshes = json.dumps(ACROSS[:count])
    exact(on_eight_devices("factorisations.py", [meshes, "window"], [meshes, "full"]), 2 * count)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.exhaustive)])
def test_sampling_and_the_tokenizer_on_meshes(count):
    exact(
        on_eight_devices(
            "clips.py", [json.dumps(CLIPS[: count // 2])], [json.dumps(CLIPS[count // 2 : count])]
        ),
        3 * count,
    )


@pytest.mark.slow
def test_a_pair_of_blocks_switches_twice():
    """All-to-alls of the compiled program, two a pair forward and two more backward, and none of
    the sound's.
    """
    rows = {row["program"]: row for row in on_eight_devices("switches.py", [])}
    assert rows["forward"]["all-to-all"] == 2 * rows["forward"]["pairs"]
    assert rows["gradient"]["all-to-all"] == 4 * rows["gradient"]["pairs"]


def test_tokens_that_do_not_divide_name_what_fits():
    mesh = AbstractMesh((1, 1, 3, 1), AXES, axis_types=(AxisType.Auto,) * 4)
    with pytest.raises(
        UserError,
        match=r"mesh.seq=3 does not divide the 16 tokens of a frame; sizes that do: 1, 2, 4, 8, 16",
    ):
        check_tokens(PRESETS["nano"], (8, 8), mesh)
    check_tokens(PRESETS["nano"], (12, 8), mesh)


def test_a_mesh_that_splits_a_head_is_refused_where_there_are_kernels():
    mesh = AbstractMesh((1, 1, 1, 4), AXES, axis_types=(AxisType.Auto,) * 4)
    on_gpu = types.SimpleNamespace(
        shape=mesh.shape, devices=np.array([types.SimpleNamespace(platform="gpu")])
    )
    with pytest.raises(
        UserError, match=r"tensor=4 splits a head of model.heads=6, and .*: 1, 2, 3"
    ):
        sequence.layout(on_gpu, PRESETS["nano"])
    sequence.check_heads(PRESETS["nano"], MeshConfig().make())


@pytest.mark.parametrize("pattern", ["window", "full"])
def test_heads_that_do_not_divide_name_what_fits(pattern):
    mesh = AbstractMesh((1, 1, 4, 2), AXES, axis_types=(AxisType.Auto,) * 4)
    with pytest.raises(
        UserError,
        match="mesh.seq=4 does not divide the 3 heads that mesh.tensor=2 leaves to "
        f"'{pattern}'; sizes that do: 1, 3",
    ):
        check_tokens(dataclasses.replace(PRESETS["nano"], attention=pattern), (8, 8), mesh)


def test_latents_too_few_for_the_halo_say_how_many_devices_fit():
    mesh = AbstractMesh((1, 1, 8, 1), AXES, axis_types=(AxisType.Auto,) * 4)
    tokenizer = nnx.eval_shape(lambda: VideoTokenizer(VideoTokenizerConfig(), rngs=nnx.Rngs(0)))
    with pytest.raises(
        UserError,
        match=r"mesh\.seq=8 leaves a device 1 of 5 latent frames, and a convolution needs 2.*at "
        r"most 2",
    ):
        halo.decode(tokenizer, jnp.zeros((1, 5, 8, 8, 16)), mesh)
