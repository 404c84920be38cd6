"""The reader of compiled programs, against programs small enough to count by hand."""

import jax
import jax.numpy as jnp
import pytest

from sora_jax.parallel.hlo import Program, _group, size

LOOPS = """\
HloModule two_loops

%inner (p: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %p = (s32[], f32[8,128]) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8,128]{1,0:T(8,128)} get-tuple-element(%p), index=1
  %all-reduce.1 = f32[8,128]{1,0:T(8,128)} all-reduce(%x), channel_id=1, replica_groups=[2,4]<=[8], to_apply=%add
  ROOT %t = (s32[], f32[8,128]) tuple(%i, %all-reduce.1)
}

%ends (p: (s32[], f32[8,128])) -> pred[] {
  %p = (s32[], f32[8,128]) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %n = s32[] constant(3)
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%outer (p: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %p = (s32[], f32[8,128]) parameter(0)
  ROOT %while.2 = (s32[], f32[8,128]) while(%p), condition=%ends, body=%inner
}

ENTRY %main (a: (s32[], f32[8,128]), b: bf16[4,256]) -> f32[8,128] {
  %a = (s32[], f32[8,128]) parameter(0)
  %b = bf16[4,256]{1,0} parameter(1)
  %while.1 = (s32[], f32[8,128]) while(%a), condition=%ends, body=%outer, backend_config={"known_trip_count":{"n":"5"}}
  %ag = (bf16[4,256]{1,0}, bf16[16,256]{1,0}) all-gather-start(%b), replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}
  %agd = bf16[16,256]{1,0} all-gather-done(%ag)
  %near = bf16[16,256]{1,0:S(1)} copy(%agd)
  ROOT %r = f32[8,128] get-tuple-element(%while.1), index=1
}
"""  # noqa: E501


def test_loops_are_multiplied_out_and_pairs_counted_once():
    found = Program(LOOPS).collectives()
    assert found.keys() == {"all-reduce", "all-gather"}
    assert found["all-reduce"].count == 5 * 3 and found["all-gather"].count == 1
    assert found["all-reduce"].sent == 15 * 2 * 8 * 128 * 4 * 3 / 4
    assert found["all-gather"].sent == 16 * 256 * 2 * 3 / 4


def test_what_is_on_the_chip_is_not_traffic():
    assert (
        size("bf16[16,256]{1,0:S(1)}") == 8192
        and size("bf16[16,256]{1,0:S(1)}", on_chip=False) == 0
    )
    reduced, gathered, copied = 15 * 2 * 4096, 2048 + 8192, 8192
    assert Program(LOOPS).traffic() == reduced + gathered + copied


def test_a_workspace_that_a_library_is_lent_is_not_traffic():
    product = """ENTRY %main (a: bf16[64,32], b: bf16[32,16]) -> f32[64,16] {
  %a = bf16[64,32]{1,0} parameter(0)
  %b = bf16[32,16]{1,0} parameter(1)
  %gemm = (f32[64,16]{1,0}, s8[4194304]{0}) custom-call(%a, %b), custom_call_target="__cublas$lt$matmul"
  ROOT %r = f32[64,16] get-tuple-element(%gemm), index=0
}
"""  # noqa: E501
    moved = 2 * (64 * 32 + 32 * 16) + 4 * 64 * 16
    assert Program(product).traffic() == moved
    # of others it may be the result
    assert Program(product.replace("__cublas$lt$matmul", "mine")).traffic() == moved + 4194304


def test_of_an_array_that_is_sliced_ahead_the_slice_is_read():
    sliced = """ENTRY %main (a: bf16[512,1024]) -> bf16[128,1024] {
  %a = bf16[512,1024]{1,0} parameter(0)
  %slice-start = (bf16[512,1024]{1,0}, bf16[128,1024]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%a), slice={[128:256], [0:1024]}
  ROOT %done = bf16[128,1024]{1,0:S(1)} slice-done(%slice-start)
}
"""  # noqa: E501
    slice_bytes = 128 * 1024 * 2
    assert Program(sliced).traffic() == slice_bytes
    assert Program(sliced.replace(":S(1)", "")).traffic() == 2 * slice_bytes  # and written to HBM


def test_what_runs_asynchronously_is_counted_where_it_is_done():
    copied = """%aside (p: f32[1024]) -> f32[1024] {
  %p = f32[1024]{0} parameter(0)
  ROOT %n = f32[1024]{0} negate(%p)
}

ENTRY %main (a: f32[1024]) -> f32[1024] {
  %a = f32[1024]{0} parameter(0)
  %s = ((f32[1024]{0}), f32[1024]{0}, s32[]) async-start(%a), calls=%aside
  ROOT %done = f32[1024]{0} async-done(%s)
}
"""
    assert Program(copied).traffic() == 2 * 4096


def test_an_asynchronous_sum_reads_and_writes():
    summed = """ENTRY %main (a: f32[1024]) -> f32[1024] {
  %a = f32[1024]{0} parameter(0)
  %s = f32[1024]{0} all-reduce-start(%a), replica_groups={{0,1}}, to_apply=%add
  ROOT %done = f32[1024]{0} all-reduce-done(%s)
}
"""
    assert Program(summed).traffic() == 2 * 4096


def test_a_loop_without_an_end_is_refused():
    text = LOOPS.replace("%n = s32[] constant(3)", "%n = s32[] get-tuple-element(%p), index=0")
    with pytest.raises(ValueError, match=r"trip count of the loop while\.2"):
        Program(text).collectives()


def test_a_compiled_scan_moves_its_body_each_time():
    """Each turn reads a slice of the weights, not all of them."""

    def function(x, weights):
        return jax.lax.scan(lambda c, w: (jnp.sin(c) @ w, None), x, weights)[0]

    def moved(turns):
        shapes = (
            jax.ShapeDtypeStruct((64, 64), jnp.float32),
            jax.ShapeDtypeStruct((turns, 64, 64), jnp.float32),
        )
        return Program(jax.jit(function).lower(*shapes).compile().as_text()).traffic()

    one = 64 * 64 * 4
    each = (moved(40) - moved(20)) / 20
    assert 4 * one <= each <= 12 * one, each / one


@pytest.mark.parametrize(
    "groups,devices",
    [
        ("[2,4]<=[8]", 4),
        ("[4,2]<=[2,4]T(1,0)", 2),
        ("{{0,1,2},{3,4,5}}", 3),
        ("mesh['axis_0'=4,'axis_1'=1] {'axis_0'}", 4),
        ("mesh['axis_0'=2,'axis_1'=8,'axis_2'=3] {'axis_0','axis_2'}", 6),
        (
            "mesh['axis_0'=1,'axis_1'=2,'axis_2'=1,'axis_3'=2], device_ids=([2,2]T(1,0)) "
            "{'axis_1'}",
            2,
        ),
        ("mesh['axis_0'=8,'axis_1'=2], device_ids=([16]) {'axis_0'}", 8),
        ("mesh['axis_0'=16] {'axis_0':(2)4}", 4),
    ],
)
def test_every_spelling_of_groups(groups, devices):
    assert _group(f"%x), channel_id=1, replica_groups={groups}, dimensions={{0}}") == devices


def test_groups_that_are_not_understood_are_an_error():
    with pytest.raises(ValueError, match="cannot parse the replica groups"):
        _group("%x), channel_id=1, replica_groups=<5>")


def test_an_iota_of_its_own_is_written():
    assert (
        Program("ENTRY %main () -> s32[1024] {\n  ROOT %i = s32[1024]{0} iota()\n}\n").traffic()
        == 4096
    )
