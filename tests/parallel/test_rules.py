"""The table of placements: strict about what it knows, and every preset known to it."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from sora_jax.errors import UserError
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT
from sora_jax.parallel import rules
from sora_jax.parallel.mesh import AXES, MeshConfig, check_batch
from sora_jax.training.optim import OptimConfig, make_optimizer
from sora_jax.training.state import new_state, split_module
from sora_jax.tree import flatten


def shapes(preset="nano"):
    return split_module(nnx.eval_shape(lambda: STDiT(PRESETS[preset], nnx.Rngs(0))))[0]


def mesh(data=1, fsdp=1, seq=1, tensor=1):
    return AbstractMesh((data, fsdp, seq, tensor), AXES, axis_types=(AxisType.Auto,) * 4)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_placed(preset):
    params = shapes(preset)
    assert rules.specs(params).keys() == flatten(params).keys()


def test_a_pair_of_layers_meets_on_the_tensor_axis():
    """What up gives to `tensor`, down takes from it; and the same for heads."""
    found = rules.specs(shapes())
    for block in ("pairs/space", "pairs/time", "pairs/audio", "text/blocks"):
        for opens, closes in (("mlp/up", "mlp/down"), ("attention/q", "attention/out")):
            assert found[f"{block}/{opens}/kernel"] == P(None, "fsdp", "tensor")
            assert found[f"{block}/{closes}/kernel"] == P(None, "tensor", "fsdp")
        assert found[f"{block}/mlp/up/bias"] == P(None, "tensor")


@pytest.mark.parametrize(
    "broken,words",
    [
        (rules.ST_DIT[1:], "matches no rule"),
        ((*rules.ST_DIT, (".*/table", P(None, None))), "matches 2 rules"),
        ((*rules.ST_DIT, ("pairs/tables", P(None))), "match no parameter: pairs/tables"),
        (
            tuple(
                (rule, P(None) if "register" not in rule and spec == P(None, None) else spec)
                for rule, spec in rules.ST_DIT
            ),
            "a spec of 1 axes",
        ),
    ],
)
def test_a_broken_table_is_an_error(broken, words):
    with pytest.raises(ValueError, match=words):
        rules.specs(shapes(), broken)


def test_sizes_that_do_not_divide_name_the_parameter_and_what_fits():
    with pytest.raises(
        UserError,
        match=r"fsdp=5 does not divide the 128 of .*/kernel .* fit every parameter: 1, 2, 4",
    ):
        rules.check_sizes(shapes(), mesh(fsdp=5))
    with pytest.raises(
        UserError, match=r"tensor=4 does not divide the 2 heads of 32 of pairs/.*: 1, 2$"
    ):
        rules.check_sizes(shapes(), mesh(tensor=4))
    rules.check_sizes(shapes("XL"), mesh(fsdp=64, tensor=4))


@pytest.mark.parametrize("muon", [False, True])
def test_moments_and_averages_lie_as_their_parameters(muon):
    params, on = shapes(), mesh(fsdp=2, tensor=2)
    optimizer = make_optimizer(OptimConfig(muon=muon, accumulate=2), 10)
    state = jax.eval_shape(lambda p: new_state(p, optimizer, 0), params)
    placed = flatten(rules.place(state, params, on))
    assert placed.keys() == flatten(state).keys()
    where = {
        path: s.spec for path, s in placed.items() if path.endswith("pairs/space/mlp/up/kernel")
    }
    assert len(where) >= 4 and set(where.values()) == {P(None, "fsdp", "tensor")}, where
    assert placed["key"].spec == P() and placed["step"].spec == P()
    stranger = {"params": params, "other": jax.ShapeDtypeStruct((3, 5), jnp.float32)}
    with pytest.raises(ValueError, match=r"other .* is like no parameter"):
        rules.place(stranger, params, on)


def test_shares_add_up():
    """What a device holds, times the devices that hold different shares, is the whole model."""
    rows = rules.table(shapes(), mesh(data=2, fsdp=2, tensor=2))
    for _, shape, spec, held in rows:
        whole = 4 * jnp.prod(jnp.array(shape)).item()
        assert held * 2 ** sum(axis is not None for axis in spec) == whole
    assert sum(row[3] for row in rows) < 0.27 * sum(
        4 * jnp.prod(jnp.array(row[1])).item() for row in rows
    )


def test_a_mesh_fills_the_devices_or_says_why_not():
    assert MeshConfig().shape(8) == (8, 1, 1, 1) and MeshConfig(fsdp=4).shape(8) == (2, 4, 1, 1)
    with pytest.raises(UserError, match="fsdp 3, which does not fit 8 devices"):
        MeshConfig(fsdp=3).shape(8)
    assert MeshConfig(data=2, fsdp=2).shape(8) == (2, 2, 1, 1) and MeshConfig(data=1).shape(6) == (
        1,
        1,
        1,
        1,
    )
    with pytest.raises(UserError, match="data 4 x fsdp 4, which does not fit 8 devices"):
        MeshConfig(data=4, fsdp=4).shape(8)
    assert MeshConfig(seq=4).shape(8) == (2, 1, 4, 1)
    with pytest.raises(ValueError, match=r"mesh\.tensor=0"):
        MeshConfig(tensor=0)
    check_batch(16, mesh(data=2, fsdp=4))
    with pytest.raises(
        UserError, match=r"batch_size=12 does not divide .* multiple of 8, for example 16"
    ):
        check_batch(12, mesh(data=2, fsdp=4))
