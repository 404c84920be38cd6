"""Cost of a model configuration in a clip format, counted by tracing: nothing is allocated or
computed.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from kernels import target
from sora_jax.flops import count_flops, stored_bytes
from sora_jax.modality import ClipFormat
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.tables import section

PARTS = (
    "text encoder",
    "reference encoder",
    "exchange",
    "audio stream",
    "video stream, spatial blocks",
    "video stream, temporal blocks",
    "video stream, in, level and out",
)


def _part(path: tuple[str, ...]) -> str:
    """Returns the part of PARTS that a parameter belongs to."""
    if path[0] == "text":
        return "text encoder"
    if path[0] == "references":
        return "reference encoder"
    if "exchange" in path:
        return "exchange"
    if path[0].startswith("audio") or path[:2] == ("pairs", "audio"):
        return "audio stream"
    if path[:2] == ("pairs", "space"):
        return "video stream, spatial blocks"
    if path[:2] == ("pairs", "time"):
        return "video stream, temporal blocks"
    if path[0].startswith("video"):
        return "video stream, in, level and out"
    raise ValueError(f"{path} belongs to no part of the model")


@dataclasses.dataclass(frozen=True)
class Cost:
    """Counts for one model in one format. Bytes and FLOPs are those of a whole batch.

    Attributes:
        parameters: number of parameters by part of PARTS, without parts that the model lacks.
        tokens: number of tokens of one clip, {"video", "audio", "text"}.
        forward: FLOPs of one evaluation of the network.
        step: FLOPs of the loss and its gradient, without recomputation.
        recomputed: FLOPs that rematerialisation adds to a step.
        activations: bytes of activations kept for the backward pass.
        optimizer: FLOPs of one update; None without an optimizer.
        optimizer_state: bytes of moments, moving average and gradient sums; None without an
            optimizer.
    """

    parameters: dict[str, int]
    tokens: dict[str, int]
    forward: int
    step: int
    recomputed: int
    activations: int
    optimizer: int | None = None
    optimizer_state: int | None = None


def measure(
    config: STDiTConfig,
    format: ClipFormat,
    batch_size: int,
    text_length: int,
    optimizer: optax.GradientTransformation | None = None,
) -> Cost:
    """Returns the cost of a model in a format: parameters, tokens, FLOPs and bytes.

    They are counted by tracing: nothing is allocated or computed. Kernels are switched off, because
    the matrix products inside them cannot be counted.

    Args:
        config: the configuration of the model.
        format: format of the clips.
        batch_size: clips per batch.
        text_length: words per prompt.
        optimizer: if given, its FLOPs and its state are counted too. Default None.
    """
    with target.assume(target.CPU):
        return _measure(config, format, batch_size, text_length, optimizer)


def update_flops(optimizer: optax.GradientTransformation, params: Any) -> int:
    """Returns the FLOPs of one optimizer update of `params` (arrays or shapes), such as Muon's
    Newton-Schulz iterations.

    AdamW has no matrix products, so it counts 0. An optimizer that accumulates gradients over k
    batches updates once in k steps.
    """
    state = jax.eval_shape(optimizer.init, params)
    return count_flops(optimizer.update, params, state, params)


def _bytes(init: Callable, params: Any) -> int:
    """Returns the size in bytes of the result of `init(params)`."""
    leaves = jax.tree.leaves(jax.eval_shape(init, params))
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)


def training_flops(
    config: STDiTConfig,
    format: ClipFormat,
    batch_size: int,
    text_length: int,
    optimizer: optax.GradientTransformation,
) -> tuple[int, int]:
    """Returns (FLOPs of the loss and gradient of a batch, FLOPs of an update of the optimizer).

    They are the fields `step` and `optimizer` of the `Cost` that `measure` returns for the same
    arguments. `measure` takes two to three times as long.
    """
    with target.assume(target.CPU):
        _, loss, state = _functions(config, remat="none")
        inputs = _inputs(config, format, batch_size, text_length)
        return count_flops(jax.grad(loss), state, *inputs), update_flops(optimizer, state)


def _inputs(
    config: STDiTConfig, format: ClipFormat, batch_size: int, text_length: int
) -> tuple[Any, ...]:
    """Returns the shapes of the arguments of a model: latents, levels, text and times."""
    shapes = {
        "video": (format.video_latents, *format.latent_sides, config.video_channels),
        "audio": (format.audio_latents, config.audio_channels),
    }
    latents = {
        k: jax.ShapeDtypeStruct((batch_size, *shape), jnp.float32) for k, shape in shapes.items()
    }
    levels = {k: jax.ShapeDtypeStruct(x.shape[:2], jnp.float32) for k, x in latents.items()}
    words = jax.ShapeDtypeStruct((batch_size, text_length), bool)
    tokens = jax.ShapeDtypeStruct(words.shape, jnp.int32)
    if config.text_features:
        tokens = jax.ShapeDtypeStruct((*words.shape, config.text_features), jnp.float32)
    times = {k: jnp.asarray(t, jnp.float32) for k, t in format.latent_times().items()}
    return latents, levels, {"tokens": tokens, "mask": words}, times


def _functions(config: STDiTConfig, remat: str) -> tuple[Callable, Callable, nnx.State]:
    """Returns (state, *inputs -> output of the model; state, *inputs -> a loss; shapes of the
    state).
    """
    model = nnx.eval_shape(lambda: STDiT(dataclasses.replace(config, remat=remat), nnx.Rngs(0)))
    graphdef, state = nnx.split(model)

    def forward(state: nnx.State, *args: Any) -> Any:
        return nnx.merge(graphdef, state)(*args)

    def loss(state: nnx.State, *args: Any) -> Any:
        return sum(jnp.mean(jnp.square(x)) for x in forward(state, *args).values())

    return forward, loss, state


def _measure(
    config: STDiTConfig,
    format: ClipFormat,
    batch_size: int,
    text_length: int,
    optimizer: optax.GradientTransformation | None,
) -> Cost:
    inputs = _inputs(config, format, batch_size, text_length)
    forward, loss, state = _functions(config, remat="none")
    parameters: dict[str, int] = dict.fromkeys(PARTS, 0)
    for path, leaf in nnx.to_flat_state(state):
        parameters[_part(tuple(map(str, path)))] += int(np.prod(leaf.shape))
    parameters = {part: n for part, n in parameters.items() if n}
    step = count_flops(jax.grad(loss), state, *inputs)
    recomputed = 0
    if config.remat != "none":
        _, loss, _ = _functions(config, config.remat)
        recomputed = count_flops(jax.grad(loss), state, *inputs) - step
    sites = math.prod(config.grid(format.latent_sides))
    return Cost(
        parameters=parameters,
        tokens={
            "video": format.video_latents * sites,
            "audio": format.audio_latents,
            "text": text_length + 1,
        },
        forward=count_flops(forward, state, *inputs),
        step=step,
        recomputed=recomputed,
        activations=stored_bytes(loss, state, *inputs),
        optimizer=None if optimizer is None else update_flops(optimizer, state),
        optimizer_state=None if optimizer is None else _bytes(optimizer.init, state),
    )


def report(
    config: STDiTConfig,
    format: ClipFormat,
    batch_size: int,
    text_length: int,
    optimizer: optax.GradientTransformation | None = None,
) -> str:
    """Returns the result of `measure`, which takes the same arguments, as printable text."""
    cost = measure(config, format, batch_size, text_length, optimizer)
    total = sum(cost.parameters.values())
    memory = {"parameters": 4 * total, "gradients": 4 * total}
    if cost.optimizer_state is not None:
        memory["moments and moving average"] = cost.optimizer_state
    memory["activations kept, at most"] = cost.activations
    flops = [
        ("forward, one clip", quantity(cost.forward / batch_size)),
        (f"training step, batch {batch_size}", quantity(cost.step)),
    ]
    if cost.recomputed:
        flops.append(("  recomputed, not included", quantity(cost.recomputed)))
    if cost.optimizer is not None:
        remark = "" if cost.optimizer else " (no matrix products)"
        flops.append((f"optimizer update{remark}", quantity(cost.optimizer)))
    parameters = [(part, quantity(count)) for part, count in cost.parameters.items()]
    memory_rows = [(name, quantity(count, "B")) for name, count in memory.items()]
    clip = f"tokens of a clip ({format})"
    place = f"memory of training, batch {batch_size}, all on one device"
    return "\n\n".join(
        [
            f"{config.attention} attention, {config.depth} pairs of width {config.width}, "
            f"{config.dtype} activations",
            section("parameters", [*parameters, ("total", quantity(total))]),
            section(clip, [(name, str(count)) for name, count in cost.tokens.items()]),
            section("FLOPs", flops),
            section(place, [*memory_rows, ("total", quantity(sum(memory.values()), "B"))]),
        ]
    )


def quantity(x: float, unit: str = "") -> str:
    """Returns a number as text with three digits and a decimal prefix: 3967040 -> "3.97 M".

    Negative numbers get no prefix. `unit`, such as "B", is appended. Default "": none.
    """
    prefixes = ["", "k", "M", "G", "T", "P", "E"]
    power = 0
    while x >= 999.5 and power < len(prefixes) - 1:
        x, power = x / 1000, power + 1
    return f"{x:.3g} {prefixes[power]}{unit}".rstrip()
