"""Samplers: integrate the flow from noise to latents, with every frame at its own level.

The global level runs down a grid s_0 = 1 > s_1 > ... > s_n = 0. Frame by frame, with start level a
(see `conditioning`),

    l_i = min(s_i, a),       z_0 = (1 - a) x + a e                          (1)
    Euler   z_{i+1} = z_i + (l_{i+1} - l_i) v(z_i, l_i)                     (2)
    Heun    z_{i+1} = z_i + (l_{i+1} - l_i) (v(z_i, l_i) + v(z'_{i+1}, l_{i+1})) / 2,
            z' of (2)                                                                            (3)

so that frames above their start level have steps of 0, and those with a = 0 come out exactly as
given. Heun's last step is (2): at level 0 there is no velocity to be told apart from the data.
Error per unit of s: Euler O(1/n), Heun O(1/n^2) at twice the cost ("Elucidating the Design Space",
Karras 2022). One network call is compiled per shape; the loop is Python's, for its progress.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from sora_jax.flow.conditioning import effective_level
from sora_jax.flow.guidance import Guidance, guided_velocity
from sora_jax.flow.process import expand, interpolate
from sora_jax.flow.timesteps import sampling_levels
from sora_jax.registry import Registry

Latents = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """method, a name of SAMPLERS; steps; r of `timesteps.shift`, that of training (None: not known,
    1); guidance; what the network outputs, "x" or "v".
    """

    method: str = "euler"
    steps: int = 30
    shift: float | None = None
    guidance: Guidance = dataclasses.field(default_factory=Guidance)
    output: str = "x"


def draw_noise(key: jax.Array, shapes: Mapping[str, tuple[int, ...]]) -> Latents:
    """Noise for a batch: from one key, shapes with their batch axis; from keys [B], each clip's
    from its own, shapes without it.

    With keys of their own, clips do not depend on what else is in the batch.
    """

    def draw(k):
        keys = jax.random.split(k, len(shapes))
        return {
            m: jax.random.normal(each, shape)
            for (m, shape), each in zip(sorted(shapes.items()), keys)
        }

    return draw(key) if key.ndim == 0 else jax.vmap(draw)(key)


@functools.partial(jax.jit, static_argnames=("passes", "output"))
def _velocity(model, z, s, start, text, negative, times, scales, passes, output):
    levels = {m: effective_level(s, start[m]) for m in z}
    return guided_velocity(model, z, levels, text, negative, times, passes, scales, output)


@jax.jit
def _advance(z, v, s, s_next, start):
    def move(z, v, a):
        return z + expand(effective_level(s_next, a) - effective_level(s, a), z) * v

    return jax.tree.map(move, z, v, start)


@dataclasses.dataclass(frozen=True)
class Field:
    """The flow that a sampler integrates: the velocity of latents at a global level, and a move
    along it by equation (2).
    """

    velocity: Callable[[Latents, jax.Array], Latents]  # (z, s) -> v
    advance: Callable[[Latents, Latents, jax.Array, jax.Array], Latents]  # (z, v, s, s') -> z'


Step = Callable[[Field, Latents, jax.Array, jax.Array, bool], Latents]
# name -> step(field, z, s, s_next, last) -> z at s_next; last: s_next is 0. Users add their own.
SAMPLERS: Registry[Step] = Registry("sampler")


@SAMPLERS.register
def euler(field: Field, z: Latents, s: jax.Array, s_next: jax.Array, last: bool) -> Latents:
    """Equation (2)."""
    return field.advance(z, field.velocity(z, s), s, s_next)


@SAMPLERS.register
def heun(field: Field, z: Latents, s: jax.Array, s_next: jax.Array, last: bool) -> Latents:
    """Equation (3)."""
    v = field.velocity(z, s)
    if not last:
        v_next = field.velocity(field.advance(z, v, s, s_next), s_next)
        v = jax.tree.map(lambda a, b: (a + b) / 2, v, v_next)
    return field.advance(z, v, s, s_next)


def euler_step(model, z: Latents, s, s_next, start: Latents, **fixed) -> Latents:
    """Equation (2) from s to s_next: what `sample` does in each step, as one program. fixed: text,
    negative, times, passes, scales and output, as `guided_velocity` takes them.
    """
    return _advance(z, _velocity(model, z, s, start=start, **fixed), s, s_next, start)


def sample(
    model: Callable,
    key: jax.Array,
    shapes: Mapping[str, tuple[int, ...]],
    start_levels: Mapping[str, jax.Array],
    given: Latents,
    text: Mapping[str, jax.Array],
    negative: Mapping[str, jax.Array],
    times: Mapping[str, jax.Array],
    config: SamplerConfig = SamplerConfig(),
    on_step: Callable[[int, int], object] | None = None,
) -> Latents:
    """Latents {"video": [B, T, H, W, C], "audio": [B, N, C]} float32.

    model: a callable as in `guided_velocity`; one that is a pytree (an nnx module,
    `jax.tree_util.Partial`) is an argument of the compiled step, any other is a constant of it.
    key: a key, or keys [B] (see `draw_noise`). start_levels: [B, T] and [B, N]. given: latents like
    the result, read where the start level is below 1. times: midpoints in seconds. on_step(done,
    steps) after every step.

    Raises UserError for a method that is not in SAMPLERS.
    """
    step = SAMPLERS[config.method]
    if not jax.tree.leaves(model) or jax.tree.leaves(model)[0] is model:
        model = jax.tree_util.Partial(model)
    e = draw_noise(key, shapes)
    start = {m: jnp.asarray(start_levels[m], jnp.float32) for m in e}
    times = {m: jnp.asarray(times[m], jnp.float32) for m in e}
    z = {m: interpolate(jnp.asarray(given[m], jnp.float32), e[m], start[m]) for m in e}
    grid = [
        jnp.float32(s)
        for s in sampling_levels(config.steps, 1.0 if config.shift is None else config.shift)
    ]
    fixed = {"start": start, "text": dict(text), "negative": dict(negative), "times": times}
    fixed |= {
        "passes": config.guidance.passes,
        "scales": config.guidance.scales,
        "output": config.output,
    }
    field = Field(
        velocity=functools.partial(_velocity, model, **fixed),
        advance=functools.partial(_advance, start=start),
    )
    for i, (s, s_next) in enumerate(itertools.pairwise(grid)):
        z = step(field, z, s, s_next, i + 1 == config.steps)
        if on_step is not None:
            jax.block_until_ready(z)
            on_step(i + 1, config.steps)
    return z
