"""LoRA, frozen parts and partial starts: what moves, what stays to the bit, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sora_jax import low_rank
from sora_jax.errors import UserError
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT
from sora_jax.training import adapt
from sora_jax.training.adapt import AdaptConfig
from sora_jax.training.optim import EmaState, OptimConfig, averaged_params, make_optimizer
from sora_jax.training.run import Run
from sora_jax.training.start import NEW, Start, start_params, started
from sora_jax.training.train import check_adapted
from sora_jax.tree import flatten


class Part(nnx.Module):
    def __init__(self, **parts):
        for name, part in parts.items():
            setattr(self, name, part)


def small(seed=0):
    """A module whose parameters are named like those of the model."""
    rngs = nnx.Rngs(seed)
    stack = Part(kernel=nnx.Param(jax.random.normal(rngs.params(), (2, 4, 5))))
    return Part(
        video_in=nnx.Linear(6, 4, rngs=rngs),
        audio_head=nnx.Linear(3, 2, rngs=rngs),
        text=Part(embedding=nnx.Embed(12, 3, rngs=rngs)),
        pairs=Part(
            space=Part(up=stack),
            exchange=Part(audio_gate=nnx.Param(jnp.ones((2, 3)))),
        ),
    )


@pytest.fixture(scope="module")
def params():
    return nnx.state(small(), nnx.Param)


def stepped(params, config, steps=3, **optim):
    """Parameters of a run after some steps of made-up gradients, and their averages."""
    run = adapt.begin(params, config, jax.random.key(0), new_words=2)
    before = run
    trained = functools.partial(adapt.trained, config=config)
    optimizer = make_optimizer(OptimConfig(warmup=1, **optim), 10, 0, trained)

    @jax.jit
    def step(run, state):
        gradients = jax.tree.map(jnp.ones_like, run)
        updates, state = optimizer.update(gradients, state, run)
        return optax.apply_updates(run, updates), state

    state = optimizer.init(run)
    for _ in range(steps):
        run, state = step(run, state)
    return before, run, averaged_params(state, run), state


@pytest.mark.parametrize("muon", [False, True])
def test_lora_leaves_the_base_to_the_bit(params, muon):
    before, after, averaged, state = stepped(params, AdaptConfig(lora_rank=2), muon=muon)
    for path, x in flatten(before).items():
        same = bool((x == flatten(after)[path]).all())
        assert same == path.startswith("base/"), path
        if path.startswith("base/"):
            np.testing.assert_array_equal(flatten(averaged)[path], x)
    moments = [x for x in jax.tree.leaves(state) if getattr(x, "ndim", 0) > 0]
    sizes = sum(x.size for x in moments)
    own = sum(x.size for x in jax.tree.leaves(after["lora"]))
    assert 3 * own <= sizes <= 3 * own + 8, "moments and averages, none for the base"


@pytest.mark.parametrize("part", sorted(adapt.PARTS))
def test_a_frozen_part_stays_and_the_others_move(params, part):
    config = AdaptConfig(freeze=(part,))
    before, after, averaged, state = stepped(params, config)
    still = {path for path, x in flatten(before).items() if (x == flatten(after)[path]).all()}
    assert still == {path for path in flatten(before) if adapt.frozen_path(path, config)}
    assert still and len(still) < len(flatten(before))
    ema = [
        x
        for x in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, EmaState))
        if isinstance(x, EmaState)
    ]
    assert len(ema) == 1 and set(flatten(averaged)) == set(flatten(before))


def test_every_parameter_belongs_to_one_part():
    shapes = nnx.eval_shape(lambda: STDiT(PRESETS["nano"], nnx.Rngs(0)))
    for path in flatten(nnx.state(shapes, nnx.Param)):
        alone = [AdaptConfig(freeze=(part,)) for part in adapt.PARTS]
        assert sum(adapt.frozen_path(path, one) for one in alone) == 1, path


def test_no_gradient_reaches_what_is_held(params):
    config = AdaptConfig(lora_rank=1)
    run = adapt.begin(params, config, jax.random.key(0))

    def loss(p):
        whole = low_rank.merged(adapt.held(p, config))
        return sum(jnp.square(x).sum() for x in jax.tree.leaves(whole))

    gradients = jax.grad(loss)(run)
    assert all(not x.any() for x in jax.tree.leaves(gradients["base"]))
    assert all(one["b"].any() for one in gradients["lora"].values())


def test_an_update_is_the_sum_of_two_paths(params):
    """x (W + a b) = x W + (x a) b, for each block of a stack."""
    run = adapt.begin(params, AdaptConfig(lora_rank=3), jax.random.key(1))
    path = "pairs/space/up/kernel"
    one = run["lora"][path]
    one["b"] = 0.1 * jax.random.normal(jax.random.key(2), one["b"].shape)
    whole, kernel = flatten(low_rank.merged(run))[path], flatten(params)[path]
    x = jax.random.normal(jax.random.key(3), (5, kernel.shape[1]))
    for block in range(2):
        apart = x @ kernel[block] + (x @ one["a"][block]) @ one["b"][block]
        np.testing.assert_allclose(x @ whole[block], apart, atol=1e-5)
    assert float(jnp.abs(whole - kernel).max()) > 1e-2
    still = flatten(low_rank.merged(run))["video_in/kernel"]
    np.testing.assert_array_equal(still, flatten(params)["video_in/kernel"])


def test_rows_of_new_words_alone_are_trained(params):
    run = adapt.begin(params, AdaptConfig(lora_rank=1), jax.random.key(0), new_words=2)
    run["lora"]["rows"] = jnp.ones_like(run["lora"]["rows"])
    before, after = (flatten(x)[low_rank.EMBEDDING] for x in (params, low_rank.merged(run, 4)))
    changed = np.flatnonzero((np.asarray(before) != np.asarray(after)).any(1))
    assert changed.tolist() == [4, 5]


def test_a_start_takes_what_fits_and_lists_the_rest(params, capsys):
    shapes = nnx.state(nnx.eval_shape(small), nnx.Param)
    given: dict = {}
    for path, x in flatten(params).items():
        *parents, leaf = path.split("/")
        node = given
        for key in parents:
            node = node.setdefault(key, {})
        node[leaf] = x[:4] if path == "video_in/kernel" else x + 1
    del given["audio_head"]
    with pytest.raises(UserError, match="does not fit the model: it lacks audio_head/"):
        start_params(shapes, given, "file")
    found = start_params(shapes, given, "file", partly=True)
    said = capsys.readouterr().err
    assert "video_in/kernel (6, 4), new" in said and "video_in/kernel (4, 4), not taken" in said
    assert "audio_head/kernel (3, 2), new" in said
    whole = flatten(started(shapes, found, small))
    for path, x in whole.items():
        new = path == "video_in/kernel" or path.startswith("audio_head/")
        np.testing.assert_array_equal(x, flatten(params)[path] + (not new))
    with pytest.raises(UserError, match="no parameter of the model's shapes"):
        start_params(shapes, {"other": jnp.ones(3)}, "file", partly=True)


def test_what_cannot_be_adapted_is_refused():
    run = Run(adapt=AdaptConfig(lora_rank=4))
    with pytest.raises(UserError, match="give them as init_from"):
        check_adapted(run, NEW)
    with pytest.raises(UserError, match="give them as init_from"):
        check_adapted(run, Start("x", None, step=3))
    check_adapted(Run(), NEW)
    for values, message in (
        ({"freeze": ("sound",)}, "freeze='sound'; use some of 'video'"),
        ({"freeze": tuple(adapt.PARTS)}, "nothing would be trained"),
        ({"lora_rank": -1}, "lora_rank"),
    ):
        with pytest.raises(ValueError, match=message):
            AdaptConfig(**values)
