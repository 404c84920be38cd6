"""The custom calls by which compiled programs launch Triton kernels, and the ways around them."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from kernels import gpu_graph, target, triton_call
from kernels.errors import Unsupported
from kernels.temporal_attention import triton as temporal
from kernels.temporal_attention.reference import attend
from kernels.temporal_attention.specs import Spec, inputs

ROOT = Path(__file__).parents[2]
needs_compiler = pytest.mark.skipif(
    not gpu_graph.installed(),
    reason="no CUDA plugin; python -m kernels.gpu_graph --install=build/gpu_compiler downloads it",
)
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="PyTorch is not installed; pip install -e '.[parity]'",
)
SMALL = Spec(1, 4, 6, 2, 16, dtype="float32")


def run_python(code, *arguments, **environment):
    """Runs code in a new process that can compile for a GPU."""
    path = os.pathsep.join([str(ROOT), str(gpu_graph.folder())])
    found = {**os.environ, "JAX_PLATFORMS": "cpu", "TRITON_INTERPRET": "0", "PYTHONPATH": path}
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    result = subprocess.run(
        command, cwd=ROOT, env=found | environment, capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


# Compiles a kernel, or a training step of a small model, and prints the custom calls in it.
COMPILE = """
import collections, contextlib, json, re, sys
import jax
from jax.experimental import topologies
from kernels import gpu_graph, target, triton_call

topology = topologies.get_topology_desc(
    platform="cuda", target_config=gpu_graph.H200, topology="1x1x1")
sharding = jax.sharding.SingleDeviceSharding(topology.devices[0])

def place(tree):
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)

def calls(function, *arguments):
    # Without a GPU to try them on, the compiler cannot choose among its own products.
    options = {"xla_gpu_enable_triton_gemm": False}
    compiled = jax.jit(function).lower(*place(arguments)).compile(options)
    found = re.findall(r'custom_call_target="([^"]+)"', compiled.as_text())
    return dict(collections.Counter(found))

def kernel():
    from kernels.temporal_attention import temporal_attention
    from kernels.temporal_attention.specs import SPECS, inputs
    given = jax.eval_shape(lambda: inputs(SPECS["t16"]))
    return calls(lambda x: temporal_attention(**x, implementation="triton"), given)

def step():
    import dataclasses
    import jax.numpy as jnp
    from flax import nnx
    from sora_jax.flow.loss import flow_loss
    from sora_jax.models.presets import PRESETS
    from sora_jax.models.st_dit import STDiT
    from sora_jax.training.optim import OptimConfig, make_optimizer
    from sora_jax.training.state import new_state, split_module
    from sora_jax.training.step import make_step
    from sora_jax.modality import FORMATS

    config, form = dataclasses.replace(PRESETS["nano"], depth=2), FORMATS["nano"]
    params, merge = split_module(nnx.eval_shape(lambda: STDiT(config, nnx.Rngs(0))))
    optimizer = make_optimizer(OptimConfig(), 100)
    times = {m: jnp.asarray(t, jnp.float32) for m, t in form.latent_times().items()}
    train = make_step(lambda p, b, k: flow_loss(merge(p), b, k, times), optimizer)
    B, (size, _) = 4, form.latent_sides
    batch = {
        "video": jnp.zeros((B, form.video_latents, size, size, config.video_channels)),
        "audio": jnp.zeros((B, form.audio_latents, config.audio_channels)),
        "tokens": jnp.zeros((B, 8), jnp.int32),
        "text_mask": jnp.ones((B, 8), bool),
    }
    state = jax.eval_shape(lambda p: new_state(p, optimizer, 0), params)
    return calls(train, state, batch)

bridge = sys.argv[2]
chosen = triton_call.use_bridge(bridge) if bridge else contextlib.nullcontext()
with target.assume(target.H200), chosen:
    print(json.dumps({"kernel": kernel, "step": step}[sys.argv[1]]()))
"""


def compiled_calls(program, bridge=""):
    return json.loads(run_python(COMPILE, program, bridge).splitlines()[-1])


@needs_compiler
@pytest.mark.slow
def test_a_kernel_is_the_typed_call_unless_told_otherwise():
    typed, untyped = triton_call.BRIDGES["ffi"], triton_call.BRIDGES["legacy"]
    assert compiled_calls("kernel") == {typed: 1}
    assert compiled_calls("kernel", "legacy") == {untyped: 1}


@needs_compiler
@pytest.mark.slow
def test_a_training_step_has_no_untyped_call():
    found = compiled_calls("step")
    assert found[triton_call.BRIDGES["ffi"]] >= 3 and triton_call.BRIDGES["legacy"] not in found


@needs_compiler
@needs_torch
@pytest.mark.slow
def test_torch_compile_works_beside_the_kernels():
    """jax-triton sets TRITON_CACHE_DIR="" when imported, and every torch.compile then fails."""
    code = """
    import os, sys
    from kernels import triton_call
    from kernels.temporal_attention import triton as temporal
    from kernels.temporal_attention.specs import SPECS
    before = dict(os.environ)
    if sys.argv[1]:
        os.environ["TRITON_CACHE_DIR"] = ""
    triton_call.compile_for(temporal.launches(SPECS["t16"])["forward"], 90)
    print({name for name in before if os.environ.get(name) != before[name]})
    import torch
    from triton.runtime.cache import get_cache_manager
    get_cache_manager("00").put("text", "file", binary=False)
    print(torch.compile(lambda x: x.sin() + 1)(torch.zeros(3)).sum().item())
    """
    assert run_python(code, "").splitlines() == ["set()", "3.0"]
    with pytest.raises(AssertionError, match="Error"):
        run_python(code, "as jax-triton does")


@needs_torch
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # padding rows hold 0 / 0
def test_the_kernel_launched_by_torch_is_the_reference():
    given = inputs(SMALL)
    launch = temporal.launches(SMALL)["forward"]
    names = ("q", "k", "v", "q_scale", "k_scale", "angles")
    arguments = temporal.kernel_arguments(*(given[name] for name in names), None, None, None)
    (found,) = triton_call._launch_by_torch(launch, *arguments)
    np.testing.assert_allclose(found, attend(**given), atol=2e-6)


@needs_torch
def test_the_bridge_of_torch_is_refused_within_jit(monkeypatch):
    monkeypatch.setattr(triton_call, "interpreting", lambda: False)
    launch = temporal.launches(SMALL)["forward"]
    with triton_call.use_bridge("torch"), pytest.raises(Unsupported, match=r"outside of jax\.jit"):
        jax.eval_shape(launch, *launch.inputs)


def test_an_unknown_bridge_is_refused():
    with (
        pytest.raises(ValueError, match="no bridge 'c'; there are ffi, legacy, torch"),
        triton_call.use_bridge("c"),
    ):
        pass


def test_ptxas_is_found(monkeypatch, tmp_path):
    """Where PATH has no ptxas, Triton's own is appended to it; PATH is left alone otherwise."""
    import shutil

    triton_call._find_assembler.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    triton_call._find_assembler()
    assert os.environ["PATH"].startswith(str(tmp_path)) and shutil.which("ptxas")
    triton_call._find_assembler.cache_clear()
    before = os.environ["PATH"]
    triton_call._find_assembler()
    assert os.environ["PATH"] == before


def test_parameters_of_a_kernel_are_counted():
    ptx = (
        ".version 8.7\n.visible .entry f(\n.param .u64 a,\n.param .u64 b\n)\n{ ld.param.u64 "
        "%r, [a]; }"
    )
    assert triton_call._parameters(ptx) == 2


def test_a_triton_with_other_hidden_parameters_is_refused(monkeypatch):
    import triton

    compiled = types.SimpleNamespace(asm={"ptx": ".entry f(.param .u64 a, .param .u64 b)"})
    monkeypatch.setattr(triton, "compile", lambda *_, **__: compiled)
    key = triton_call._Key.of(temporal.launches(SMALL)["forward"], 90)
    with pytest.raises(Unsupported, match=r"hidden parameters.*install triton==3\.6\.0"):
        triton_call._compile.__wrapped__(key)


def test_a_cache_that_cannot_be_written_is_replaced(monkeypatch, tmp_path):
    import triton

    blocked = tmp_path / "file"
    blocked.write_text("")
    with triton.knobs.cache.scope():
        triton.knobs.cache.dir = str(blocked / "cache")
        with triton_call._writable_cache():
            assert Path(triton.knobs.cache.dir).is_dir()
            assert Path(triton.knobs.cache.dir) != blocked / "cache"
        assert triton.knobs.cache.dir == str(blocked / "cache")


@pytest.mark.parametrize(
    "kind,slug",
    [
        ("NVIDIA H200", "nvidia_h200"),
        ("NVIDIA H100 80GB HBM3", "nvidia_h100"),
        ("NVIDIA H100 PCIe", "nvidia_h100_pcie"),
        ("NVIDIA A100-SXM4-80GB", "nvidia_a100-sxm4"),
        ("NVIDIA GeForce RTX 4090", "nvidia_geforce_rtx_4090"),
        ("TPU v6 lite", "tpu_v6_lite"),
        ("cpu", "cpu"),
    ],
)
def test_slugs_leave_memory_out(kind, slug):
    assert target.Target("gpu", kind).slug == slug
