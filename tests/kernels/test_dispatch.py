"""Which implementation runs, what is said when none can, and what a mistake is answered with:
always one line.
"""

import importlib
import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from kernels import dispatch, target, triton_call, tuning
from kernels.errors import Unsupported
from kernels.temporal_attention import api, temporal_attention
from kernels.temporal_attention.specs import Spec, Windows, inputs

ROOT = Path(__file__).parents[2]
SPEC = Spec(1, 4, 2, 1, 16, dtype="float32")


def run_python(code, **environment):
    """In a process of its own, from the repository's root."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **environment}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture
def absent_gpu(monkeypatch):
    """As on a machine with a GPU: no interpreter."""
    monkeypatch.setattr(triton_call, "interpreting", lambda: False)


def refusal(**changes):
    with pytest.raises((Unsupported, ValueError)) as info:
        temporal_attention(**{**inputs(SPEC), **changes})
    assert "\n" not in str(info.value)
    return str(info.value)


@pytest.mark.parametrize(
    "spec",
    [
        Spec(1, 65, 2, 1, 64, dtype="float32"),
        Spec(1, 4, 2, 1, 136, dtype="float32"),
        Spec(1, 4, 2, 1, 20, dtype="float32"),
    ],
    ids=str,
)
def test_asked_by_name_never_falls_back(spec):
    with pytest.raises(
        Unsupported,
        match=r"triton: takes 1 to 64 frames or .*, heads of 16 to 128 .* or bfloat16, not B=1 T=",
    ) as info:
        temporal_attention(**inputs(spec), implementation="triton")
    assert str(spec) in str(info.value) and "\n" not in str(info.value)
    # The reference takes any.
    assert jax.eval_shape(
        lambda: temporal_attention(**inputs(spec), implementation="xla")
    ).shape == (1, spec.T, 2, 1, spec.D)


def test_another_dtype_is_refused():
    assert "float8_e4m3fn" in refusal(
        implementation="triton", **{x: inputs(SPEC)[x].astype(jnp.float8_e4m3fn) for x in "qkv"}
    )


def test_too_many_numbers_are_refused():
    spec = Spec(1, 64, 2**17, 4, 64)
    with pytest.raises(Unsupported, match=r"fewer than 2\^31 numbers per batch element.*shard"):
        importlib.import_module("kernels.temporal_attention.triton").check(spec)


def test_unknown_implementation():
    assert refusal(
        implementation="cudnn"
    ) == "temporal_attention: no implementation 'cudnn'; there are " + ", ".join(
        api.IMPLEMENTATIONS
    )


def test_first_of_the_list_that_can(caplog):
    dispatch._say.cache_clear()
    with caplog.at_level(logging.INFO, "kernels"):
        for _ in range(2):
            jax.eval_shape(lambda: temporal_attention(**inputs(SPEC)))
    said = [record.getMessage() for record in caplog.records if record.name == "kernels"]
    # Made for a GPU, so that on a CPU nobody runs it in the interpreter unawares.
    assert said == ["temporal_attention runs as xla"]


def test_what_was_selected_is_recorded():
    run = lambda: temporal_attention(**inputs(SPEC))
    with dispatch.recorded() as forms:
        jax.eval_shape(run)
    jax.eval_shape(lambda: run())
    assert forms == {"temporal_attention": {"xla"}}


def test_a_function_is_traced_again_under_another_setting():
    """With an interpreter in place of the GPU, and back."""
    run = jax.jit(lambda: temporal_attention(**inputs(SPEC)))
    found = []
    for assumed in (target.CPU, target.H200, target.CPU, target.H200):
        with target.assume(assumed), dispatch.recorded() as forms:
            run.lower()
        found.append(forms.get("temporal_attention"))
    assert found == [{"xla"}, {"triton"}, None, None]  # the last two come from JAX's cache


def test_an_accelerator_left_unused_is_a_warning(caplog, absent_gpu):
    dispatch._say.cache_clear()
    with caplog.at_level(logging.INFO, "kernels"), target.assume(target.H200):
        for _ in range(2):
            jax.eval_shape(lambda: temporal_attention(**inputs(SPEC)))
        with pytest.raises(
            Unsupported, match=r"needs JAX's CUDA plugin; pip install -e '\.\[cuda13\]'"
        ):
            temporal_attention(**inputs(SPEC), implementation="triton")
    [warning] = [record for record in caplog.records if record.name == "kernels"]
    assert warning.levelname == "WARNING" and warning.getMessage().startswith(
        "temporal_attention runs as xla (temporal_attention, triton: needs"
    )


def test_without_a_gpu(absent_gpu):
    assert "needs an NVIDIA GPU, and this is cpu" in refusal(implementation="triton")
    with target.assume(target.Target("gpu", "Tesla V100", 70)):
        assert "compute capability 8.0 or later, and Tesla V100 has 7.0" in refusal(
            implementation="triton"
        )


def test_without_triton():
    result = run_python(
        """
        import sys
        import jax
        sys.modules["triton"] = None
        from kernels.temporal_attention import temporal_attention
        from kernels.temporal_attention.specs import SPECS, inputs
        given = inputs(SPECS["nano"])
        jax.eval_shape(lambda: temporal_attention(**given))
        try:
            temporal_attention(**given, implementation="triton")
        except NotImplementedError as error:
            print(error)
        """
    )
    assert result.returncode == 0, result.stderr
    assert "pip install -e '.[cuda13]'" in result.stdout and result.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "changes,says",
    [
        (
            {"k": jnp.zeros((1, 4, 3, 1, 16))},
            r"k is \(1, 4, 3, 1, 16\); beside q \(1, 4, 2, 1, 16\) it must be \(1, 4, 2, 1, 16\)",
        ),
        ({"angles": jnp.zeros((4, 16))}, r"angles is \(4, 16\); .* it must be \(4, 8\)"),
        ({"q_scale": jnp.zeros((2, 16))}, r"q_scale is \(2, 16\); .* it must be \(16,\)"),
        (
            {"v": jnp.zeros((1, 4, 2, 1, 16), jnp.bfloat16)},
            "q is float32 and v bfloat16; give one dtype",
        ),
        ({"visible": jnp.ones((1, 4))}, "visible is float32; give bool"),
        ({"visible": jnp.ones((4,), bool)}, r"visible is \(4,\); .* it must be \(1, 4\)"),
        ({"shared_k": jnp.zeros((1, 3, 1, 16))}, "both shared_k and shared_v"),
        (
            {"shared_k": jnp.zeros((1, 3, 2, 16)), "shared_v": jnp.zeros((1, 3, 1, 16))},
            r"shared_k is \(1, 3, 2, 16\); .* \(1, 3, 1, 16\)",
        ),
        (
            {"shared_k": jnp.zeros((1, 0, 1, 16)), "shared_v": jnp.zeros((1, 0, 1, 16))},
            "nothing to attend to",
        ),
        (
            {x: jnp.zeros((1, 4, 0, 1, 16)) for x in "qkv"},
            r"nothing to attend to in q \(1, 4, 0, 1, 16\)$",
        ),
        ({"q": jnp.zeros((4, 16))}, r"give \[\.\.\., T, S, H, D\]"),
        ({"windows": Windows((1, 1, 2), 3)}, "columns=3 does not divide the 2 sites of a frame"),
        ({"windows": Windows((5, 1, 2), 2)}, r"\(5, 1, 2\) frames.* do not fit \(4, 1, 2\)"),
        ({"windows": Windows((1, 1, 2), 2)}, r"angles is \(4, 8\); .* it must be \(4, 2, 8\)"),
        ({"shifted": jnp.array(True)}, "shifted without windows; give both"),
        ({"shifted": jnp.array(1)}, "shifted is int32; give bool"),
        ({"shifted": jnp.zeros(3, bool)}, r"shifted is \(3,\); .* it must be \(\)"),
    ],
)
def test_shapes_that_do_not_fit(unchecked_shapes, changes, says):
    with pytest.raises(ValueError, match=says) as info:
        temporal_attention(**{**inputs(SPEC), **changes})
    assert "\n" not in str(info.value)


def test_mapping_over_scales_is_refused():
    given = inputs(SPEC)
    with pytest.raises(NotImplementedError, match=r"jax\.lax\.map"):
        jax.vmap(lambda g: temporal_attention(**{**given, "q_scale": g}, implementation="triton"))(
            jnp.ones((2, 16))
        )


def write(path, device="NVIDIA H200", **use):
    path.write_text(
        json.dumps(
            {"device": device, "op": "some_op", "entries": [{"where": {"T": 16}, "use": use}]}
        )
    )
    return path


def test_tuning_overrides_the_heuristic(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "_chosen", {})
    with target.assume(target.H200):
        tuning.use(write(tmp_path / "a.json", warps=2))
        assert tuning.parameters("some_op", {"warps": 4, "rows": 64}, T=16, D=64) == {
            "warps": 2,
            "rows": 64,
        }
        assert tuning.parameters("some_op", {"warps": 4, "rows": 64}, T=8, D=64) == {
            "warps": 4,
            "rows": 64,
        }
        assert tuning.parameters("other_op", {"warps": 4}, T=16) == {"warps": 4}
        tuning.use(write(tmp_path / "b.json", wraps=2))
        with pytest.raises(
            ValueError, match=r"b\.json: some_op has no parameter wraps; it has warps, rows"
        ):
            tuning.parameters("some_op", {"warps": 4, "rows": 64}, T=16)


def test_a_trial_overrides_what_is_tuned(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "_chosen", {})
    with target.assume(target.Target("gpu", "NVIDIA H200 141GB HBM3e", 90)):
        tuning.use(write(tmp_path / "a.json", warps=2))
        with tuning.trial("some_op", {"rows": 128}):
            assert tuning.parameters("some_op", {"warps": 4, "rows": 64}, T=16) == {
                "warps": 4,
                "rows": 128,
            }
            assert tuning.parameters("other_op", {"rows": 64}, T=16) == {"rows": 64}
        assert tuning.parameters("some_op", {"warps": 4, "rows": 64}, T=16) == {
            "warps": 2,
            "rows": 64,
        }
        with (
            tuning.trial("some_op", {"wraps": 1}),
            pytest.raises(ValueError, match="trial: some_op has no parameter wraps"),
        ):
            tuning.parameters("some_op", {"warps": 4}, T=16)


def test_tuning_of_another_device_is_refused(tmp_path):
    with (
        target.assume(target.H200),
        pytest.raises(
            ValueError,
            match="was tuned on 'NVIDIA A100', but this device is 'NVIDIA H200'; tune here",
        ),
    ):
        tuning.use(write(tmp_path / "a.json", device="NVIDIA A100"))
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(ValueError, match="no tuning file: it needs device, op and entries"):
        tuning.use(tmp_path / "c.json")


def test_shipped_tuning_is_of_its_device():
    for path in tuning.SHIPPED.glob("*/*.json"):
        content = tuning._read(path)
        assert (
            target.Target("gpu", content["device"]).slug == path.stem
            and content["op"] == path.parent.name
        )


@pytest.mark.slow
def test_sharded_is_whole():
    """On four devices, batch and sites sharded, then sites and heads, then with windows batch and
    heads: same values, same gradients; frames may not be sharded, nor sites with windows.
    """
    result = run_python(
        """
        import itertools
        import jax, jax.numpy as jnp, numpy as np
        from jax.sharding import AxisType, NamedSharding
        from kernels.temporal_attention import temporal_attention
        from kernels.temporal_attention.specs import Spec, Windows, inputs

        mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)

        def refused(sharding, **given):
            try:
                temporal_attention(**given, sharding=NamedSharding(mesh, sharding))
            except ValueError as error:
                print(error)

        def check(spec, *shardings):
            given = inputs(spec)
            fixed = {x: given.pop(x) for x in ("visible", "shifted") if x in given}
            fixed["windows"] = spec.windows

            def loss(given, implementation, sharding=None):
                out = temporal_attention(
                    **given, **fixed, implementation=implementation, sharding=sharding
                )
                return jnp.sin(out).sum(), out

            (_, want), gradients = jax.value_and_grad(loss, has_aux=True)(given, "xla")
            for implementation, parts in itertools.product(("xla", "triton"), shardings):
                sharding = NamedSharding(mesh, jax.P(*parts))
                placed = given | {x: jax.device_put(given[x], sharding) for x in "qkv"}
                step = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=(1, 2))
                (_, out), found = step(placed, implementation, sharding)
                assert out.sharding.is_equivalent_to(sharding, 5), out.sharding
                np.testing.assert_allclose(out, want, atol=2e-6)
                for name in given:
                    wanted = gradients[name]
                    np.testing.assert_allclose(found[name], wanted, atol=1e-5, err_msg=name)
            return given | fixed

        spec = Spec(2, 5, 6, 2, 16, A=3, dtype="float32", masked=True)
        given = check(spec, ("a", None, "b"), (None, None, "a", "b"))
        refused(jax.P(None, "a"), **given)
        windows = Windows((5, 2, 2), 3)
        spec = Spec(2, 5, 6, 2, 16, dtype="float32", windows=windows, shifted=True)
        given = check(spec, ("a", None, None, "b"))
        refused(jax.P(None, None, "a"), **given)
        """,
        XLA_FLAGS="--xla_force_host_platform_device_count=4",
    )
    assert result.returncode == 0, result.stderr
    assert ": frames and head width must not be sharded" in result.stdout
    assert ": frames, sites and head width must not be sharded" in result.stdout
