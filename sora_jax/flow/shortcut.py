"""Shortcut forcing: the network learns steps of any size, each from two steps of half the size.

Let z be latents at level l, which a step of size d lowers to l - d. A network that takes d
predicts the mean velocity u(z, l, d) of the step, so that one step is exact:

    z(l - d) = z(l) - d u(z, l, d),             u(z, l, 0) = v(z, l), the flow                   (1)

A step d = d1 + d2 is two steps in a row. Its target is what these two do together:

    u1 = u(z, l, d1),     u2 = u(z - d1 u1, l - d1, d2),     u* = (d1 u1 + d2 u2) / d            (2)
    L  = |u(z, l, d) - u*|^2                        no gradient flows into u*                    (3)

The steps are those of a sampler of n steps (`timesteps.sampling_levels`), n = 1, 2, 4, ...,
`finest`, which divides each step of it in the middle. At n = `finest` the halves are steps of the
flow under text guidance, u(z, l, 0) with equation (1) of `guidance`. So every step includes the
guidance, and sampling needs no second evaluation for it. At smaller n the halves are
the steps of the sampler of 2 n steps.

One clip in `every` learns (3), the others the flow (`loss`). A frame with start level a moves
from min(s, a) to min(s', a), so given frames do not move and do not count.

Sources: shortcut models (Frans et al. 2024, arXiv:2410.12557), and Dreamer 4 (Hafner et al. 2025,
arXiv:2509.24527) for shortcuts of networks that predict x, with a level per frame.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from sora_jax.flow.conditioning import draw_given, effective_level
from sora_jax.flow.guidance import guided_velocity
from sora_jax.flow.loss import FlowConfig, flow_loss, prompts
from sora_jax.flow.process import expand, interpolate, to_velocity
from sora_jax.flow.timesteps import shift
from sora_jax.typing import Latents, Levels, Times


def loss(
    model: Callable,
    batch: Mapping[str, Any],
    key: PRNGKeyArray,
    times: Times,
    config: FlowConfig,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Computes the loss of one batch, with the arguments of `flow_loss`: of the flow over most of
    the clips, and equation (3) over one clip in `config.shortcut.every`.

    Both count by their clips. The metrics of `flow_loss` gain {video,audio}_shortcut_loss; "loss"
    is that of both.
    """
    every, clips = config.shortcut.every, {k: x for k, x in batch.items() if k != "times"}

    def part(which: slice) -> dict[str, Any]:
        def rows(x: Array) -> Array:
            groups = x.reshape(x.shape[0] // every, every, *x.shape[1:])
            return groups[:, which].reshape(-1, *x.shape[1:])

        return jax.tree.map(rows, clips)

    of_flow, metrics = flow_loss(model, part(slice(1, None)), key, times, config)
    of_steps, more = step_loss(model, part(slice(0, 1)), jax.random.fold_in(key, 9), times, config)
    both = (1 - 1 / every) * of_flow + of_steps / every
    return both, {**metrics, **more, "loss": both}


def step_loss(
    model: Callable,
    batch: Mapping[str, Any],
    key: PRNGKeyArray,
    times: Times,
    config: FlowConfig,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Computes equation (3) over a batch, with the arguments of `flow_loss`; the audio counts
    `config.audio_weight` times.

    Returns:
        The scalar loss, and the metrics video_shortcut_loss and audio_shortcut_loss.
    """
    x = {name: batch[name].astype(jnp.float32) for name in ("video", "audio")}
    size = x["video"].shape[0]
    has_audio = batch.get("has_audio", jnp.ones((size,), bool))
    names = ("task", "steps", "place", "noise")
    keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
    given, _ = draw_given(keys["task"], size, times, config.tasks, has_audio, config.first_latents)
    start = {m: jnp.where(given[m], 0.0, 1.0) for m in x}

    grids = config.shortcut.grids
    grid = jax.random.randint(keys["steps"], (size,), 0, len(grids))
    n = jnp.asarray(grids)[grid]
    i = jnp.floor(jax.random.uniform(keys["place"], (size,)) * n)
    s, s_mid, s_end = (
        shift(1 - (i + part) / n, config.timesteps.shift)[:, None] for part in (0.0, 0.5, 1.0)
    )
    begin, middle, end = (
        {m: effective_level(level, start[m]) for m in x} for level in (s, s_mid, s_end)
    )
    e = {
        m: jax.random.normal(k, x[m].shape)
        for m, k in zip(x, jax.random.split(keys["noise"]), strict=True)
    }
    z = {m: interpolate(x[m], e[m], begin[m]) for m in x}
    text = prompts(batch)
    finest = n == config.shortcut.finest
    negative = {**text, "mask": jnp.zeros_like(text["mask"])}
    scale = jnp.where(finest, config.shortcut.guidance, 1.0)
    scales = {m: expand(scale[:, None], x[m]) for m in x}

    def half(z: Latents, level: Levels, after: Levels) -> Latents:
        """Returns the latents after a half step, with u1 or u2 of (2)."""
        d = {m: level[m] - after[m] for m in z}
        sizes = {m: jnp.where(finest[:, None], 0.0, d[m]) for m in z}
        passes = ("text", "negative")
        u = guided_velocity(
            model, z, level, text, negative, times, passes, scales, config.output, sizes
        )
        return {m: z[m] - expand(d[m], z[m]) * u[m] for m in z}

    after = half(half(z, begin, middle), middle, end)
    d = {m: begin[m] - end[m] for m in x}
    output = model(z, begin, text, times, 1.0, sizes=d)

    total, metrics = jnp.zeros(()), {}
    for m, weight in (("video", 1.0), ("audio", config.audio_weight)):
        counts = ~given[m] if m == "video" else ~given[m] & has_audio[:, None]
        # (2): the mean velocity of the whole step; where nothing moves it does not count
        moved = jnp.where(counts, d[m], 1.0)
        u = jax.lax.stop_gradient((z[m] - after[m]) / expand(moved, z[m]))
        target = z[m] - expand(begin[m], z[m]) * u if config.output == "x" else u
        u = to_velocity(target, z[m], begin[m], config.output)
        u_hat = to_velocity(output[m].astype(jnp.float32), z[m], begin[m], config.output)
        error = jnp.square(u_hat - u).mean(tuple(range(2, u.ndim)))
        mean = (error * counts).sum() / jnp.maximum(counts.sum(), 1)
        total += weight * mean
        metrics[f"{m}_shortcut_loss"] = jnp.where(counts.any(), mean, jnp.nan)
    return total, metrics
