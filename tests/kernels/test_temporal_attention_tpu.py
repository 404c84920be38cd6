"""Temporal attention on TPUs, without one: in Pallas's interpreter against the reference, and
compiled for four generations.

The interpreter watches for races, fills memory with NaN and refuses to read beyond an array. The
figures that are held here are predicted from the compiler's static schedule; nothing was timed.
"""

import dataclasses
import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import assert_caught, assert_conforms, broken, run
from jax.experimental.pallas import tpu as pltpu
from test_temporal_attention import OP, assert_sees_nothing
from watchful import WATCHFUL

from kernels import dispatch, pallas_call, target, tpu_schedule
from kernels.errors import Unsupported
from kernels.temporal_attention import api, pallas_tpu, temporal_attention, tpu_tiling
from kernels.temporal_attention.specs import SPECS, Spec, Windows, inputs

TPU = target.Target("tpu", "TPU v6 lite")

SMALL = Spec(1, 3, 17, 1, 32, dtype="float32")
FAST = [
    # Sites leave the last program half empty; frames leave registers over; two heads share their
    # lanes; all masks at once.
    Spec(1, 3, 17, 2, 64, A=3, dtype="float32", masked=True, causal=True),
    Spec(1, 9, 8, 1, 128, dtype="bfloat16"),
]
SLOW = [
    Spec(2, 5, 13, 2, 32, dtype="float32", masked=True),
    Spec(1, 16, 16, 2, 64, dtype="bfloat16"),
    Spec(1, 21, 16, 1, 72, dtype="float32", causal=True),
    Spec(2, 13, 33, 3, 40, A=5, dtype="float32", masked=True, causal=True),
    Spec(1, 8, 20, 4, 64, A=16, dtype="bfloat16", causal=True),
    Spec(1, 33, 16, 1, 64, dtype="float32"),
    Spec(1, 2, 3, 1, 136, A=1, dtype="float32"),
    Spec(1, 1, 3, 1, 16, dtype="float32"),
]


@pytest.mark.parametrize("spec", FAST, ids=str)
def test_conforms(spec, interpreter):
    assert_conforms(OP, spec, "pallas_tpu")


@pytest.mark.slow
@pytest.mark.parametrize("spec", SLOW, ids=str)
def test_conforms_at_length(spec, interpreter):
    assert_conforms(OP, spec, "pallas_tpu")


@pytest.mark.slow
@pytest.mark.parametrize("spec", [SMALL, FAST[0]], ids=str)
def test_forward_by_itself(spec, interpreter):
    """Of a forward pass and a backward one, the interpreter keeps the races of the last."""
    out = jax.jit(
        lambda given: temporal_attention(**given, causal=spec.causal, implementation="pallas_tpu")
    )(inputs(spec))
    want = temporal_attention(**inputs(spec), causal=spec.causal, implementation="xla")
    np.testing.assert_allclose(out, want, atol=2e-5)


@pytest.mark.slow
def test_two_programs_of_heads_and_two_of_sites(interpreter, monkeypatch):
    """Sums over sites begin anew for every block of heads and every batch element, and go on from
    one block of sites to the next.
    """
    spec = Spec(2, 3, 40, 4, 64, A=2, dtype="float32")
    monkeypatch.setattr(
        tpu_tiling, "parameters", lambda spec: {"sites": 16, "heads": 2, "tiles_at_once": 1}
    )
    assert_conforms(OP, spec, "pallas_tpu")


@pytest.mark.slow
def test_a_query_that_sees_nothing_gives_nothing(interpreter):
    spec = Spec(2, 3, 16, 1, 16, dtype="float32", masked=True)
    given = inputs(spec) | {"visible": jnp.zeros((2, 3), bool).at[1].set(True)}
    assert_sees_nothing(run(OP, spec, "pallas_tpu", given))


# A kernel with one line changed must not pass: what is replaced, by what, and a spec that shows it.
MUTATIONS = {
    "a site sees its neighbour": (
        "c = jnp.where(site == p, s[p",
        "c = jnp.where(site == p + 1, s[p",
        SMALL,
    ),
    "sees one frame ahead": (
        "u * tl.P <= _iota",
        "(u - 1) * tl.P <= _iota",
        dataclasses.replace(SMALL, causal=True),
    ),
    "another scale": (
        "scales = _lanes_of(tl, q_scale * LOG2_E",
        "scales = _lanes_of(tl, q_scale * 1.4",
        SMALL,
    ),
    "turned backwards": (
        "jnp.concatenate([a, -b], 2), jnp.concatenate([b, a], 2)",
        "jnp.concatenate([a, b], 2), jnp.concatenate([-b, a], 2)",
        SMALL,
    ),
    "sites beyond the last": (
        "tl.sites + _iota(x.shape, 0) < tl.spec.S",
        "tl.sites + _iota(x.shape, 0) < tl.spec.S + 9",
        SMALL,
    ),
    "delta is left out": ("ds = p * (dp - delta)", "ds = p * dp", SMALL),
    "norm without its projection": ("- n[t] * means[", "- 0 * n[t] * means[", SMALL),
    "hidden frames are seen": (
        "shown = jnp.broadcast_to(visible_ref[0], (tl.U, tl.L)) > 0",
        "shown = jnp.broadcast_to(visible_ref[0], (tl.U, tl.L)) >= 0",
        dataclasses.replace(SMALL, masked=True),
    ),
    "heads are not told apart": (
        "lane >= head * tl.spec.D",
        "lane >= 0",
        dataclasses.replace(SMALL, H=2),
    ),
    "shared keys without gradient of q": (
        "dy_q = dy_q + _down",
        "dy_q = dy_q + 0 * _down",
        dataclasses.replace(SMALL, A=2),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_kernel_is_caught(mutation, tmp_path, monkeypatch):
    *change, spec = MUTATIONS[mutation]
    broken(OP, "pallas_tpu", change, tmp_path, monkeypatch)
    pltpu.reset_tpu_interpret_mode_state()
    with pallas_call.interpreted(WATCHFUL):
        assert_caught(OP, spec)


def test_refused_elsewhere():
    with pytest.raises(
        Unsupported, match=r"^temporal_attention, pallas_tpu: needs a TPU, and this is cpu$"
    ):
        temporal_attention(**inputs(SMALL), implementation="pallas_tpu")


@pytest.mark.parametrize(
    "spec", [dataclasses.replace(SMALL, T=65), dataclasses.replace(SMALL, dtype="float16")], ids=str
)
def test_what_cannot_be_done_is_refused(spec):
    with (
        pallas_call.interpreted(WATCHFUL),
        pytest.raises(
            Unsupported, match=r"takes 1 to 64 frames, .* float32 or bfloat16, not B=1"
        ) as info,
    ):
        temporal_attention(**inputs(spec), implementation="pallas_tpu")
    assert "\n" not in str(info.value)


def test_windows_are_refused():
    spec = dataclasses.replace(SMALL, windows=Windows((1, 1, 1), SMALL.S))
    with (
        target.assume(TPU),
        pytest.raises(Unsupported, match=r"takes the frames of each site, not .* windows 1x1x1 of"),
    ):
        pallas_tpu.check(spec)


def test_too_much_for_fast_memory_is_refused():
    with (
        target.assume(TPU),
        pytest.raises(
            Unsupported,
            match=r"needs \d+ MiB .* for B=1 .* A=100000, and has 60; fewer shared keys",
        ),
    ):
        pallas_tpu.check(dataclasses.replace(SMALL, A=100_000))


def test_chosen_on_a_tpu():
    with target.assume(TPU):
        assert dispatch.select("temporal_attention", api.IMPLEMENTATIONS, SMALL)[0] == "pallas_tpu"


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("T", [1, 5, 16, 33, 64])
def test_tilings(name, T):
    """Programs, slabs and tiles cover every head, site and frame, and a program fits into
    memory.
    """
    spec = dataclasses.replace(SPECS[name], T=T)
    tl = tpu_tiling.tiling(spec)
    assert tl.slabs * tl.group == tl.heads and spec.H % tl.heads == 0 and tl.sites % tl.P == 0
    assert (
        tl.U >= spec.T
        and tl.L >= spec.T * tl.P
        and tl.U % 8 == 0
        and tl.L % 128 == 0
        and tl.pitch % 2
    )
    tiles = [(slab, site) for slab in range(tl.slabs) for site in range(0, tl.sites, tl.P)]
    assert [tile for batch in tl.tile_batches() for tile in batch] == tiles
    assert tl.memory < pallas_tpu.MEMORY


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed; pip install -e '.[tpu]'",
)
predict = functools.cache(tpu_schedule.predict)

# Bundles per site: the time in which HBM moves the site's 4X at H8 D128; what stands in the way at
# D64 is the softmax of twice as many heads.
MAX_BUNDLES = {"d128": 141, "d64": 219}


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize("case", MAX_BUNDLES)
def test_forward_schedule_on_v6e(case):
    report, spec = predict(case, "forward", "v6e"), tpu_schedule.cases()[case]
    assert report.bundles * report.programs <= MAX_BUNDLES[case] * spec.B * spec.S
    assert report.temporary_bytes == 0


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize(
    ("case", "generation"),
    [
        *(("d128", g) for g in tpu_schedule.GENERATIONS),
        ("d64_shared", "v5e"),
        ("xl", "v6e"),
        ("f32", "v6e"),
    ],
)
def test_compiles_and_moves_no_more_than_it_must(case, direction, generation):
    report, spec = predict(case, direction, generation), tpu_schedule.cases()[case]
    must = spec.forward_bytes if direction == "forward" else spec.backward_bytes
    # Matrices of rotations, shared keys and their gradients: little beside the 32 MiB and more of
    # each of q, k, v, and the same for any number of sites. Nothing else is moved, or kept in
    # memory between operations.
    few = 2**21 + 12 * spec.A * spec.H * spec.D
    assert must <= report.moved_bytes <= must + few
    assert report.temporary_bytes <= few
