"""Muon by shape: the updates of plain Muon, from one Newton-Schulz iteration for each shape."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from test_fit import same
from toy_run import batches

from sora_jax.errors import UserError
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT
from sora_jax.parallel import rules
from sora_jax.parallel.mesh import AXES
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.optim import OptimConfig, averaged_params, make_optimizer
from sora_jax.training.state import new_state, split_module
from sora_jax.tree import flatten

KERNELS = {
    "plain": (24, 8),
    "stack": (3, 24, 8),
    "wide": (2, 8, 24),
    "convolution": (2, 2, 6, 8),
    "alone": (5, 9),
}  # all but the last hold matrices of 8 x 24
SHAPES = {(name, "kernel"): shape for name, shape in KERNELS.items()}
SHAPES |= {("plain", "bias"): (8,), ("stack", "bias"): (3, 8), ("text", "embedding"): (9, 8)}


def tree(seed, scale=1.0):
    """Parameters of every kind that the models have; the rows of a stack differ in size."""
    made = {}
    for i, ((layer, name), shape) in enumerate(SHAPES.items()):
        x = jax.random.normal(jax.random.fold_in(jax.random.key(seed), i), shape)
        made.setdefault(layer, {})[name] = scale * (i + 1) * x
    return made


def optimizers(**options):
    plain = OptimConfig(lr=0.1, muon=True, warmup=2, ema=0.9, **options)
    stacked = OptimConfig(lr=0.1, muon=True, muon_stacked=True, warmup=2, ema=0.9, **options)
    return make_optimizer(plain, 20), make_optimizer(stacked, 20)


def trained(optimizer, steps=6):
    """(updates of each step, parameters, their average)."""
    params, state, moved = tree(0), optimizer.init(tree(0)), []
    update = jax.jit(optimizer.update)
    for step in range(steps):
        updates, state = update(tree(step + 1, scale=0.1), state, params)
        params = optax.apply_updates(params, updates)
        moved.append(updates)
    return moved, params, averaged_params(state, params)


def test_updates_are_those_of_plain_muon():
    plain, stacked = (trained(optimizer) for optimizer in optimizers(weight_decay=0.3))
    for (path, expected), (_, x) in zip(
        jax.tree.leaves_with_path(plain), jax.tree.leaves_with_path(stacked), strict=True
    ):
        error = np.linalg.norm(x - expected) / max(np.linalg.norm(expected), 1e-30)
        assert error < 1e-5, (jax.tree_util.keystr(path), error)
    moved = plain[0][-1]
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(moved))


def test_decay_and_the_factor_of_size_are_those_of_each_parameter():
    """Without a gradient only kernels move, by lr w p; every matrix's update has rms .2 lr."""
    optimizer = optimizers(weight_decay=0.5)[1]
    params = tree(0)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = optimizer.init(params)
    for _ in range(3):  # two steps of warm-up
        updates, state = optimizer.update(zeros, state, params)
    for (layer, name), x in SHAPES.items():
        expected = -0.1 * 0.5 * params[layer][name] if name == "kernel" else np.zeros(x)
        np.testing.assert_allclose(updates[layer][name], expected, rtol=1e-5, atol=1e-8)
    optimizer = optimizers(weight_decay=0.0)[1]
    state = optimizer.init(params)
    for _ in range(3):
        updates, state = optimizer.update(tree(1), state, params)
    for name in ("plain", "stack", "wide", "convolution"):
        rms = float(jnp.sqrt(jnp.mean(jnp.square(updates[name]["kernel"]))))
        assert 0.7 < rms / (0.2 * 0.1) < 1.2, (name, rms)


def products(jaxpr):
    """Products written in a jaxpr, those of a loop as often as it runs."""
    count = 0
    for equation in jaxpr.eqns:
        count += equation.primitive.name == "dot_general"
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        inner = jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "jaxpr"))
        count += times * sum(products(x.jaxpr) for x in inner if hasattr(x, "jaxpr"))
    return count


def test_newton_schulz_runs_once_for_each_shape():
    """Five iterations of three products, for five kernels or for two shapes."""
    counts = []
    for optimizer in optimizers():
        state = jax.eval_shape(optimizer.init, tree(0))
        counts.append(products(jax.make_jaxpr(optimizer.update)(tree(1), state, tree(0)).jaxpr))
    assert counts == [5 * 3 * 5, 5 * 3 * 2]


def test_the_state_survives_a_checkpoint(tmp_path):
    optimizer = optimizers()[1]
    state = new_state(tree(0), optimizer, seed=3)
    _, opt_state = optimizer.update(tree(1), state.opt_state, state.params)
    state = type(state)(state.params, opt_state, state.step + 1, state.key)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, batches(), wait=True)
        restored = checkpoints.restore(new_state(tree(0), optimizer, seed=3), batches())
    same(state, restored)
    momenta = [x for path, x in flatten(restored.opt_state).items() if path.endswith("8x24/kernel")]
    assert len(momenta) == 1 and momenta[0].shape == (7, 8, 24) and np.abs(momenta[0]).max() > 0


def test_a_mesh_that_shares_parameters_out_is_refused():
    params, _ = split_module(nnx.eval_shape(lambda: STDiT(PRESETS["nano"], nnx.Rngs(0))))
    optimizer = optimizers()[1]
    state = jax.eval_shape(lambda p: new_state(p, optimizer, 0), params)
    kinds = (jax.sharding.AxisType.Auto,) * 4

    def placed(*sizes):
        return flatten(
            rules.place(state, params, jax.sharding.AbstractMesh(sizes, AXES, axis_types=kinds))
        )

    for sizes in ((1, 1, 1, 1), (4, 1, 2, 1)):
        where = placed(*sizes)
        stacks = [s.spec for path, s in where.items() if f"/{rules.STACKED}/" in path]
        assert len(stacks) == 13 and set(stacks) == {jax.sharding.PartitionSpec()}
    for sizes in ((1, 2, 1, 1), (2, 1, 1, 2)):
        with pytest.raises(
            UserError, match=r"muon_stacked=true .*config.mesh.fsdp=. .*; set both to 1, or"
        ) as error:
            placed(*sizes)
        assert "\n" not in str(error.value)


def test_without_muon_it_is_refused():
    with pytest.raises(ValueError, match="muon_stacked=True changes nothing without Muon"):
        OptimConfig(muon_stacked=True)
