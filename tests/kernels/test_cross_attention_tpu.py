"""Cross-attention on TPUs: the Pallas kernel in JAX's TPU interpreter against the reference, broken
ones that must be caught, and what libtpu makes of it.

The interpreter starts with NaN in memory, refuses to read outside arrays and looks for races.
"""

import dataclasses
import importlib.util

import jax.numpy as jnp
import pytest
from conformance import assert_caught, assert_conforms, broken, run
from jax.experimental.pallas import tpu as pltpu
from test_cross_attention import OP
from watchful import WATCHFUL

from kernels import pallas_call, target, tpu_programs, tpu_schedule
from kernels.cross_attention import cross_attention, pallas_tpu, tpu_tiling
from kernels.cross_attention.specs import SPECS, Spec, inputs
from kernels.errors import Unsupported

TPU = target.Target("tpu", "TPU v6 lite")

PLAIN = Spec(1, 4, 16, 1, 16, 13, dtype="float32")  # frames become one; padding of keys is hidden
TURNED = Spec(2, 3, 11, 2, 16, 21, dtype="float32", turned=True, masks=1)
SHOTS = Spec(1, 5, 9, 1, 16, 70, dtype="float32", turned=True, masks=5)
FAST = [PLAIN, TURNED, SHOTS, Spec(2, 3, 20, 4, 64, 33, masks=1, turned=True)]
SLOW = [
    *(dataclasses.replace(spec, B=1, T=3, S=45, H=1, masks=3 * (spec.masks > 1) or spec.masks)
      for spec in SPECS.values() if spec.dtype != "float16"),
    Spec(2, 3, 19, 2, 128, 33, dtype="float32", turned=True, masks=3),
    Spec(1, 2, 25, 3, 40, 16, masks=2, turned=True),
    Spec(2, 21, 1, 1, 32, 1, dtype="float32"),  # tokens of audio
]  # fmt: skip


@pytest.mark.parametrize("spec", FAST, ids=str)
def test_conforms(spec, interpreter):
    assert_conforms(OP, spec, "pallas_tpu")


@pytest.mark.slow
@pytest.mark.parametrize("spec", SLOW, ids=str)
def test_conforms_at_other_sizes(spec, interpreter):
    assert_conforms(OP, spec, "pallas_tpu")


# Sums begin anew for every block of heads, and go on from one block of sites and one frame to the
# next. The last block of sites is half empty.
BLOCKS = Spec(2, 2, 40, 4, 64, 10, dtype="float32", turned=True, masks=2)


def in_blocks(monkeypatch):
    monkeypatch.setattr(tpu_tiling, "parameters", lambda spec: {"rows": 16, "heads": 2})


@pytest.mark.slow
def test_blocks_of_heads_and_of_sites(interpreter, monkeypatch):
    in_blocks(monkeypatch)
    assert_conforms(OP, BLOCKS, "pallas_tpu")


@pytest.mark.slow
def test_a_frame_that_sees_nothing_gives_nothing(interpreter):
    given = dict(inputs(SHOTS))
    given["visible"] = given["visible"].at[:, 2].set(False)
    got = run(OP, SHOTS, "pallas_tpu", given)
    for name in ("result 0", "gradient of q"):
        assert (got[name][:, 2] == 0).all() and (got[name][:, 1] != 0).any()


# A kernel with one line changed must not pass: what is replaced, by what, and a spec that shows it.
MUTATIONS = {
    "sites beyond the last": ("_iota(x.shape, 0) < tl.spec.S", "_iota(x.shape, 0) < 48", BLOCKS),
    "hidden keys are seen": ("visible_ref[0, 0] > 0", "visible_ref[0, 0] >= 0", TURNED),
    "padding is seen": ("or spec.M % 16 > 0", "or False", PLAIN),
    "the first frame's mask": ("(b, t * each_mask, 0, 0)", "(b, 0, 0, 0)", SHOTS),
    "the first frame's angles": ("(t * each_turn, 0, 0)", "(0, 0, 0)", TURNED),
    "keys of the first frame": (
        "@pl.when(pl.program_id(3) == 0)",
        "@pl.when((pl.program_id(2) == 0) & (pl.program_id(3) == 0))",
        TURNED,
    ),
    "turned forwards": ("turn_ref, -1) * (gain", "turn_ref, 1) * (gain", TURNED),
    "turned back backwards": ("gain_ref[:1], turn_ref, 1)", "gain_ref[:1], turn_ref, -1)", TURNED),
    "halves of another head": ("tl.spec.D) < half", "2 * tl.spec.D) < half", TURNED),
    "heads are not told apart": ("(lane >= head * tl.spec.D)", "(lane >= 0)", TURNED),
    "lanes of all heads": ("[:, None] == lane", "[:, None] >= lane", TURNED),
    "no norm": ("lax.rsqrt(squares / tl.spec.D", "lax.rsqrt(0 * squares + 1", PLAIN),
    "delta is left out": ("ds = p * (dp - jnp", "ds = p * (dp - 0 * jnp", PLAIN),
    "norm without its projection": ("- q.astype(jnp.float32) * along", "", PLAIN),
    "gradient with log2(e)": ("* along) / LOG2_E", "* along)", PLAIN),
    "sums of the frame before": ("@pl.when(block == 0)", "@pl.when(block + frame == 0)", TURNED),
    "keys of the last frame": ("dk32_ref[slab] += ", "dk32_ref[slab] = ", TURNED),
    "values of the last block": ("dw_ref[slab] += ", "dw_ref[slab] = ", BLOCKS),
    "sums of the heads before": ("(dw_ref, dk32_ref, dgain_ref)", "(dgain_ref,)", BLOCKS),
    "gain by keys turned backwards": (
        "turn_ref, -1)\n            dk32",
        "turn_ref, 1)\n            dk32",
        TURNED,
    ),
    "another scale for the gain": ("dy_ref[slab]) / D**0.5", "dy_ref[slab]) / D", PLAIN),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_kernel_is_caught(mutation, tmp_path, monkeypatch):
    *change, spec = MUTATIONS[mutation]
    broken(OP, "pallas_tpu", change, tmp_path, monkeypatch)
    if spec is BLOCKS:
        in_blocks(monkeypatch)
    pltpu.reset_tpu_interpret_mode_state()
    with pallas_call.interpreted(WATCHFUL):
        assert_caught(OP, spec)


def test_refused_elsewhere():
    says = r"^cross_attention, pallas_tpu: needs a TPU, and this is cpu$"
    with pytest.raises(Unsupported, match=says):
        cross_attention(**inputs(PLAIN), implementation="pallas_tpu")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"M": 1025}, "takes up to 1024 keys, .* float32 or bfloat16, not B=1 T=4"),
        ({"D": 20}, "heads of 16 to 256 numbers in steps of 8"),
        ({"dtype": "float16"}, "float32 or bfloat16, not"),
        ({"S": 1, "turned": True}, "8 sites or more of frames with masks or angles of their own"),
        ({"H": 99, "D": 200, "M": 1000}, "needs .* MiB of fast memory .* and has 60; fewer keys"),
    ],
)
def test_what_cannot_be_done_is_refused(changes, says):
    with target.assume(TPU), pytest.raises(Unsupported, match=says) as info:
        pallas_tpu.check(dataclasses.replace(PLAIN, **changes))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("name", SPECS)
def test_tilings(name):
    """Programs, slabs and blocks cover every head, site and key, and a program fits into memory."""
    spec = SPECS[name]
    tl = tpu_tiling.tiling(tpu_tiling.folded(spec))
    assert tl.slabs * tl.group == tl.heads and spec.H % tl.heads == 0 and tl.group <= 8
    assert tl.grid[2] * tl.grid[3] * tl.rows >= spec.T * spec.S
    assert tl.rows == tl.spec.S or tl.rows % 128 == 0
    assert tl.keys >= spec.M and tl.keys % 16 == 0 and tl.memory < pallas_tpu.MEMORY


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed; pip install -e '.[tpu]'",
)
@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize(
    ("case", "generation"),
    [
        ("words64", "tpu7x"),
        ("xl_audio", "v6e"),
        ("shots", "v5e"),
        ("nano_audio", "v5p"),
        ("sound", "v5p"),
    ],
)
def test_compiles_and_moves_no_more_than_it_must(case, direction, generation):
    report = tpu_schedule.predict(case, direction, generation, "cross_attention")
    spec = tpu_programs.cases("cross_attention")[case]
    must = spec.forward_bytes if direction == "forward" else spec.backward_bytes
    # Keys and masks are padded to whole registers; angles and gains are little.
    lanes, keys = -(-spec.H * spec.D // 128) * 128, -(-spec.M // 16) * 16
    padded = spec.B * keys * (4 * lanes * jnp.dtype(spec.dtype).itemsize + 512 * max(1, spec.masks))
    little = 2**14 * (spec.T + spec.B)
    assert must <= report.moved_bytes <= must - 4 * spec.key_bytes + padded + little
    assert report.temporary_bytes <= padded + little
