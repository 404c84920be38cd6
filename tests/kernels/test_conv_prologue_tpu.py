"""The prologue of a causal convolution on TPUs, without one: in Pallas's interpreter, and compiled
for four generations; nothing was timed.
"""

import dataclasses
import functools
import importlib.util

import pytest
from conformance import assert_caught, assert_conforms, broken
from jax.experimental.pallas import tpu as pltpu
from test_conv_prologue import OP
from watchful import WATCHFUL

from kernels import dispatch, pallas_call, target, tpu_schedule
from kernels.conv_prologue import api, conv_prologue, pallas_tpu
from kernels.conv_prologue.specs import SPECS, Spec, inputs
from kernels.errors import Unsupported

TPU = target.Target("tpu", "TPU v6 lite")

# Two rows a program, so that blocks follow one another, hang over the edge of their frame, and rows
# wait for the next.
SMALL = Spec(2, 2, 5, 4, 20, P=1, dtype="float32")
FAST = [SMALL, Spec(1, 3, 3, 5, 24, K=1, dtype="bfloat16")]
SLOW = [
    Spec(2, 1, 6, 5, 24, K=3, P=2, dtype="bfloat16"),
    Spec(1, 4, 4, 16, 128, dtype="float32"),
    Spec(1, 2, 4, 16, 40, P=1, dtype="float32"),
    Spec(1, 1, 1, 1, 3, K=1, dtype="float32"),
    Spec(1, 5, 7, 3, 130, K=4, P=1, dtype="float32"),
]


@pytest.fixture
def two_rows(monkeypatch):
    monkeypatch.setattr(pallas_tpu, "parameters", lambda spec: {"rows": 2})


@pytest.mark.parametrize("spec", FAST, ids=str)
def test_conforms(spec, two_rows, interpreter):
    assert_conforms(OP, spec, "pallas_tpu")


@pytest.mark.slow
@pytest.mark.parametrize("spec", [*FAST, *SLOW], ids=str)
def test_conforms_with_other_blocks(spec, interpreter):
    """Whole frames, or as many rows as the heuristic says."""
    assert_conforms(OP, spec, "pallas_tpu")


@pytest.mark.slow
@pytest.mark.parametrize("spec", SLOW, ids=str)
def test_conforms_at_other_sizes(spec, two_rows, interpreter):
    assert_conforms(OP, spec, "pallas_tpu")


# A kernel with one line changed must not pass: what is replaced, and by what.
MUTATIONS = {
    "no activation": ("put(r, u * jax.nn.sigmoid(u))", "put(r, u)"),
    "no gain": ("u = n * gain_ref[...]", "u = n"),
    "rows do not wait": (
        "past_ref[0, 0, :P] = waiting_ref[...]",
        "past_ref[0, 0, :P] = 0 * waiting_ref[...]",
    ),
    "a row too few": (
        "jnp.where(i * tl.rows + r < spec.H, y",
        "jnp.where(i * tl.rows + r < spec.H - 1, y",
    ),
    "shifted by a column": ("[P : P + spec.W]", "[: spec.W]"),
    "another mean": (
        "jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON",
        "1.1 * jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON",
    ),
    "the next cache a frame early": (
        "(f >= spec.T) & (i < tl.blocks)",
        "(f > spec.T) & (i < tl.blocks)",
    ),
    "the cache gets no gradient": (
        "jnp.where(f >= spec.T, dnext_ref",
        "jnp.where(f > spec.T + spec.K, dnext_ref",
    ),
    "activation without its slope": ("dy * s * (1 + u * (1 - s))", "dy * s"),
    "norm without its projection": ("w - n * jnp.mean", "w - 0 * n * jnp.mean"),
    "gain's gradient of one row": ("dgain_ref[0] += ", "dgain_ref[0] = "),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_kernel_is_caught(mutation, tmp_path, monkeypatch):
    module = broken(OP, "pallas_tpu", MUTATIONS[mutation], tmp_path, monkeypatch)
    monkeypatch.setattr(module, "parameters", lambda spec: {"rows": 2})
    pltpu.reset_tpu_interpret_mode_state()
    with pallas_call.interpreted(WATCHFUL):
        assert_caught(OP, SMALL)


def test_chosen_where_channels_fill_the_lanes():
    with target.assume(TPU):
        chosen = lambda spec: dispatch.select("conv_prologue", api.IMPLEMENTATIONS, spec)[0]
        assert (
            chosen(SPECS["wan_704_quarter"]) == "pallas_tpu"
            and chosen(SPECS["wan_480_full"]) == "xla"
        )


def test_what_cannot_be_done_is_refused():
    given = inputs(SMALL)
    with pytest.raises(
        Unsupported, match=r"^conv_prologue, pallas_tpu: needs a TPU, and this is cpu$"
    ):
        conv_prologue(**given, implementation="pallas_tpu")
    with (
        pallas_call.interpreted(WATCHFUL),
        pytest.raises(Unsupported, match="takes float32 or bfloat16, not B=2"),
    ):
        pallas_tpu.check(dataclasses.replace(SMALL, dtype="float16"))
    with (
        target.assume(TPU),
        pytest.raises(
            Unsupported, match=r"needs \d+ MiB of fast memory .*, and has 60; process it in tiles"
        ),
    ):
        pallas_tpu.check(Spec(1, 1, 8, 4096, 1024))


@pytest.mark.parametrize("name", SPECS)
def test_blocks_cover_every_row(name):
    tl = pallas_tpu._tiling(SPECS[name])
    assert tl.spec.H * tl.spec.W == SPECS[name].H * SPECS[name].W and tl.rows >= tl.spec.P
    assert (
        tl.blocks * tl.rows >= tl.spec.H and tl.padded_blocks * tl.rows >= tl.spec.H + 2 * tl.spec.P
    )
    assert tl.memory < pallas_tpu.MEMORY


predict = functools.cache(functools.partial(tpu_schedule.predict, op="conv_prologue"))


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed; pip install -e '.[tpu]'",
)
@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize(
    ("case", "generation"),
    [
        *(("wan_704_latent", g) for g in tpu_schedule.GENERATIONS),
        ("wan_704_quarter", "v6e"),
        ("unpadded", "v6e"),
    ],
)
def test_compiles_and_moves_no_more_than_it_must(case, direction, generation):
    report, spec = predict(case, direction, generation), tpu_schedule.cases("conv_prologue")[case]
    must = spec.forward_bytes if direction == "forward" else spec.backward_bytes
    # Backward, the gradient of past is read with the padding that XLA would not read; gain and its
    # gradient are little.
    padding = (
        spec._bytes(spec.K + spec.T, spec.P) - spec._bytes(spec.K + spec.T)
        if direction == "backward"
        else 0
    )
    assert must <= report.moved_bytes <= must + padding + 2**14
    # The padded result of a program by itself is given another layout than a convolution would ask
    # for, and is copied. Chips of two cores keep 64 kB to part the programs among them.
    assert report.temporary_bytes <= 2**17 + (
        1.1 * spec._bytes(spec.K + spec.T, spec.P) if case == "wan_704_quarter" else 0
    )
