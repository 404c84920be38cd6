"""Samplers: integrate the flow from noise to latents, with a noise level per frame.

A frame here is one time step of the latents of video or audio. The global level descends a grid
s_0 = 1 > s_1 > ... > s_n = 0. Each frame has a start level a (`conditioning`): 0 is given, 1 is to
be generated. With given latents x, noise e and velocity v,

    l_i = min(s_i, a),       z_0 = (1 - a) x + a e                          (1)
    Euler   z_{i+1} = z_i + (l_{i+1} - l_i) v(z_i, l_i)                     (2)
    Heun    z_{i+1} = z_i + (l_{i+1} - l_i) (v(z_i, l_i) + v(z'_{i+1}, l_{i+1})) / 2,
            z' of (2)                                                                            (3)

So the steps of a frame are 0 until the global level falls below a, and frames with a = 0 come
out exactly as given. Heun's last step is an Euler step, because at level 0 the data determine no
velocity. "shortcut" is (2) with the mean velocity that a network predicts for this size of step
(`shortcut`), which includes the text guidance. The error with n steps is O(1/n) for Euler and
O(1/n^2) for Heun, at twice the cost ("Elucidating the Design Space", Karras et al. 2022,
arXiv:2206.00364). One network call is compiled per shape. The loop runs in Python, so that it can
report progress.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, PRNGKeyArray

from sora_jax.flow.conditioning import effective_level
from sora_jax.flow.guidance import Guidance, guided_velocity
from sora_jax.flow.process import expand, interpolate
from sora_jax.flow.timesteps import sampling_levels
from sora_jax.registry import Registry
from sora_jax.typing import Latents, Levels, Prompts, Scalar, Times


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """Settings of a sampler.

    Attributes:
        method: a name of SAMPLERS. Default "euler".
        steps: number of steps. Default 30.
        shift: shift r of the noise levels (`timesteps.shift`), as in training. Default None:
            unknown, and 1 (no shift) is used.
        guidance: scales of the guidance. Default: text guidance 2. Give text guidance 1 with the
            method "shortcut", whose steps include it.
        output: output of the network, "x" (clean latents, default) or "v" (velocity).
    """

    method: str = "euler"
    steps: int = 30
    shift: float | None = None
    guidance: Guidance = dataclasses.field(default_factory=Guidance)
    output: str = "x"


def draw_noise(
    key: Key[Array, "..."], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Float[Array, "B ..."]]:
    """Returns standard normal noise of a batch by modality, float32 arrays [B, ...].

    Args:
        key: one key, or keys [B], one for each clip. With keys [B], the noise of a clip does not
            depend on the rest of the batch.
        shapes: shape per modality, with the batch axis for one key and without it for keys [B].
    """

    def draw(k: PRNGKeyArray) -> dict[str, Array]:
        keys = jax.random.split(k, len(shapes))
        return {
            m: jax.random.normal(m_key, shape)
            for (m, shape), m_key in zip(sorted(shapes.items()), keys, strict=True)
        }

    return draw(key) if key.ndim == 0 else jax.vmap(draw)(key)


@functools.partial(jax.jit, static_argnames=("passes", "output"))
def _velocity(
    model: Callable,
    z: Latents,
    s: Scalar,
    start: Levels,
    text: Prompts,
    negative: Prompts,
    times: Times,
    scales: Mapping[str, Scalar],
    passes: tuple[str, ...],
    output: str,
    s_next: Scalar | None = None,
) -> Latents:
    levels = {m: effective_level(s, start[m]) for m in z}
    sizes = None
    if s_next is not None:
        sizes = {m: levels[m] - effective_level(s_next, start[m]) for m in z}
    return guided_velocity(model, z, levels, text, negative, times, passes, scales, output, sizes)


@jax.jit
def _advance(z: Latents, v: Latents, s: Scalar, s_next: Scalar, start: Levels) -> Latents:
    # A frame waits while s_next >= a: both effective levels are a, so its step is 0.
    def move(z: Array, v: Array, a: Array) -> Array:
        return z + expand(effective_level(s_next, a) - effective_level(s, a), z) * v

    return jax.tree.map(move, z, v, start)


@dataclasses.dataclass(frozen=True)
class Field:
    """The flow that a sampler integrates.

    Attributes:
        velocity: (z, s) -> velocities of latents z at the global level s, by modality.
            (z, s, s_next=s') -> mean velocities of a step from s to s', of a network that takes
            step sizes.
        advance: (z, v, s, s') -> latents z moved with velocities v from global level s to s'.
    """

    velocity: Callable[..., Latents]
    advance: Callable[[Latents, Latents, Scalar, Scalar], Latents]


Step = Callable[[Field, Latents, Scalar, Scalar, bool], Latents]
# name -> step(field, z, s, s_next, last) -> z at s_next. `last` is True if s_next is 0. Users can
# register their own.
SAMPLERS: Registry[Step] = Registry("sampler")


@SAMPLERS.register
def euler(field: Field, z: Latents, s: Scalar, s_next: Scalar, last: bool) -> Latents:
    """Returns the latents after an Euler step, equation (2).

    Args:
        field: the flow.
        z: latents by modality.
        s: global noise level before the step, in [0, 1].
        s_next: global noise level after it, smaller.
        last: True if s_next is 0; not used.
    """
    return field.advance(z, field.velocity(z, s), s, s_next)


@SAMPLERS.register
def heun(field: Field, z: Latents, s: Scalar, s_next: Scalar, last: bool) -> Latents:
    """Returns the latents after a Heun step, equation (3): an Euler step with the mean of the
    velocities at s and s_next. The last step is an Euler step.

    Args:
        field: the flow.
        z: latents by modality.
        s: global noise level before the step, in [0, 1].
        s_next: global noise level after it, smaller.
        last: True if s_next is 0.
    """
    v = field.velocity(z, s)
    if not last:
        v_next = field.velocity(field.advance(z, v, s, s_next), s_next)
        v = jax.tree.map(lambda a, b: (a + b) / 2, v, v_next)
    return field.advance(z, v, s, s_next)


@SAMPLERS.register
def shortcut(field: Field, z: Latents, s: Scalar, s_next: Scalar, last: bool) -> Latents:
    """Returns the latents after a step with the mean velocity that the network predicts for it.

    Args:
        field: the flow of a network that was trained with `flow.shortcut`.
        z: latents by modality.
        s: global noise level before the step, in [0, 1].
        s_next: global noise level after it, smaller.
        last: True if s_next is 0; not used.
    """
    return field.advance(z, field.velocity(z, s, s_next=s_next), s, s_next)


def euler_step(
    model: Callable, z: Latents, s: Scalar, s_next: Scalar, start: Levels, **fixed: Any
) -> Latents:
    """Returns the latents after one Euler step of `sample` from level s to s_next, as one program.

    Args:
        model: the network, a pytree.
        z: latents by modality.
        s: global noise level before the step, in [0, 1].
        s_next: global noise level after it.
        start: start level of every frame, {"video": [B, T], "audio": [B, N]}.
        fixed: the arguments text, negative, times, passes, scales and output of `guided_velocity`.
    """
    return _advance(z, _velocity(model, z, s, start=start, **fixed), s, s_next, start)


def sample(
    model: Callable,
    key: Key[Array, "..."],
    shapes: Mapping[str, tuple[int, ...]],
    start_levels: Levels,
    given: Latents,
    text: Prompts,
    negative: Prompts,
    times: Times,
    config: SamplerConfig = SamplerConfig(),
    on_step: Callable[[int, int], object] | None = None,
) -> Latents:
    """Generates latents by integrating the flow from noise.

    Args:
        model: the network, called as `sora_jax.models.st_dit.STDiT`. A pytree (an nnx module,
            `jax.tree_util.Partial`) is an argument of the compiled step; any other callable is a
            constant of it.
        key: one random key, or keys [B], one for each clip (`draw_noise`).
        shapes: shapes of the latents, {"video": ..., "audio": ...}, with the batch axis for one key
            and without it for keys [B].
        start_levels: level from which each frame is generated, {"video": [B, T], "audio": [B, N]}:
            1 is from noise, 0 is given.
        given: latents like the result, read where the start level is below 1.
        text, negative: prompt and negative prompt, {"tokens": int32 [B, L], "mask": bool [B, L]}
            and more (`guided_velocity`).
        times: midpoints of the latents in seconds, {"video": [T], "audio": [N]}.
        config: settings of the sampler. Default: 30 Euler steps, text guidance 2.
        on_step: called with (steps done, steps in all) after every step. Default None.

    Returns:
        Latents {"video": [B, T, H, W, C], "audio": [B, N, C]}, float32.

    Raises:
        UserError: the method is not in SAMPLERS.
    """
    step = SAMPLERS[config.method]
    # `_velocity` is jitted with the model as an argument, so the model must be a pytree. `Partial`
    # makes one without leaves of a plain function.
    if not jax.tree.leaves(model) or jax.tree.leaves(model)[0] is model:
        model = jax.tree_util.Partial(model)
    e = draw_noise(key, shapes)
    start = {m: jnp.asarray(start_levels[m], jnp.float32) for m in e}
    times = {name: jnp.asarray(t, jnp.float32) for name, t in times.items()}
    # Equation (1) at each frame's start level: noise alone where a = 1, the given latents at a = 0.
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
