"""The training loss: velocity error over the frames to be generated, averaged within each modality.

    L_m = sum |v^ - v|^2 / (number of values that count),      L = L_video + w L_audio           (1)

m is a modality, v^ the velocity that the network's output implies, v its target, and w the
`audio_weight`. The sum is over the values that count. Both velocities come from equation (3) of
`process`, the velocity of an output. So for output "x" the error of x is weighted by
1 / max(s, 0.1)^2, s being the noise level. Given frames do not count, and neither does the audio of
clips without audio, whose latents are replaced by pure noise. To train the passes of guidance, the
text of a clip is dropped with probability 0.1, its references with 0.1, and the coupling of video
and audio with 0.05 (`FlowConfig`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, PRNGKeyArray

from sora_jax.config import within
from sora_jax.flow.conditioning import TaskMixture, draw_given, effective_level
from sora_jax.flow.process import interpolate, to_velocity
from sora_jax.flow.timesteps import TimestepConfig, draw_levels
from sora_jax.typing import Times

QUARTERS = 4  # bins of the noise level in the metrics


@dataclasses.dataclass(frozen=True)
class ShortcutConfig:
    """Training of large steps (`sora_jax.flow.shortcut`), for a model with `step_sizes`.

    Attributes:
        every: one clip in so many learns large steps. Default 0: none.
        finest: steps of the sampler whose halves are steps of the flow, a power of two. Default 16.
        guidance: text scale that the steps include. Default 2.

    Raises:
        ValueError: a number is out of range.
    """

    every: int = 0
    finest: int = 16
    guidance: float = 2.0

    def __post_init__(self):
        within(self, "[0, inf)", "every", "guidance")
        if self.every == 1 or self.finest < 1 or self.finest & (self.finest - 1):
            raise ValueError(
                f"every={self.every} and finest={self.finest}: give every 0, or 2 or more, since "
                "the other clips learn the flow, and finest a power of two"
            )

    @property
    def grids(self) -> tuple[int, ...]:
        """The numbers of steps that are learnt: 1, 2, 4, ..., `finest`."""
        return tuple(1 << k for k in range(self.finest.bit_length()))


@dataclasses.dataclass(frozen=True)
class FlowConfig:
    """Settings of the training loss.

    Attributes:
        output: output of the network, "x" (clean latents, default) or "v" (velocity).
        timesteps: the distribution of noise levels.
        tasks: the shares of the tasks: text alone, first frame, given video and so on.
        shared_level: fraction of clips without given frames whose audio has the noise level of the
            video; in the others it has its own. Default 0.5.
        history_noise: largest level of the noise on given frames, which half of the clips have.
            Default 0.1.
        text_dropout: fraction of clips that are trained without text. Default 0.1.
        reference_dropout: fraction of clips that are trained without references of characters.
            Default 0.1.
        couple_dropout: fraction of clips that are trained without the exchange between video and
            audio. Default 0.05.
        audio_weight: factor of the audio loss, 0 or more; that of the video loss is 1. Default 1.
        first_latents: video latents that the task first_frame gives. Default 1.
        shortcut: training of large steps. Default: none.

    Raises:
        ValueError: a fraction is outside [0, 1], or another number out of range.
    """

    output: str = "x"
    timesteps: TimestepConfig = dataclasses.field(default_factory=TimestepConfig)
    tasks: TaskMixture = dataclasses.field(default_factory=TaskMixture)
    shared_level: float = 0.5
    history_noise: float = 0.1
    text_dropout: float = 0.1
    reference_dropout: float = 0.1
    couple_dropout: float = 0.05
    audio_weight: float = 1.0
    first_latents: int = 1
    shortcut: ShortcutConfig = ShortcutConfig()

    def __post_init__(self):
        shares = ("shared_level", "history_noise", "text_dropout", "couple_dropout")
        shares += ("reference_dropout",)
        within(self, "[0, 1]", *shares)
        within(self, "[0, inf)", "audio_weight")
        within(self, "[1, inf)", "first_latents")


def prompts(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the prompts of a batch as the model reads them: {"tokens", "mask"}, and "shots",
    "slots" and "references" where the batch has them.
    """
    text = {"tokens": batch["tokens"], "mask": batch["text_mask"]}
    text |= {name: batch[f"text_{name}"] for name in ("shots", "slots") if f"text_{name}" in batch}
    return text | ({"references": batch["references"]} if batch.get("references") else {})


def _kept_text(
    batch: Mapping[str, Any], config: FlowConfig, text_key: PRNGKeyArray, key: PRNGKeyArray
) -> dict[str, Any]:
    """Returns `prompts` of a batch, of which some clips lose the words (drawn by `text_key`) and
    some the references (drawn by `key`).
    """
    text, draw = prompts(batch), jax.random.bernoulli
    kept = draw(text_key, 1 - config.text_dropout, (len(text["mask"]), 1))
    text["mask"] = text["mask"] & kept
    if references := text.get("references"):
        kept = draw(key, 1 - config.reference_dropout, (len(text["mask"]), 1))
        text["references"] = {**references, "present": references["present"] & kept}
    return text


def flow_loss(
    model: Callable,
    batch: Mapping[str, Any],
    key: PRNGKeyArray,
    times: Times,
    config: FlowConfig = FlowConfig(),
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Computes the loss of one batch.

    Args:
        model: (latents, levels, text, times, couple) -> an estimate of the clean latents or of the
            velocity, by modality, as `sora_jax.models.st_dit.STDiT`.
        batch: clean latents "video" [B, T, H, W, C] and "audio" [B, N, C], "tokens" int32 [B, L]
            and "text_mask" bool [B, L]. Optional: "text_shots" and "text_slots" int8 [B, L]
            (default: all words describe all shots, and none is a name), "references"
            (`models.reference_encoder`; default: none), "has_audio" bool [B] (default: all True).
        key: random key of the tasks, levels, noise and dropout.
        times: midpoints of the latents in seconds, {"video": [T], "audio": [N]}.
        config: settings of the loss.

    Returns:
        The scalar loss, and metrics: loss, video_loss, audio_loss and {video,audio}_loss_q1..q4 by
        quarter of the noise level, q1 the cleanest. A metric is nan if no value of the batch counts
        for it, so average with nanmean.

    Raises:
        ValueError: the model's configuration has another output than `config.output`.
    """
    actual = getattr(getattr(model, "config", None), "output", config.output)
    if actual != config.output:
        raise ValueError(f"the model outputs {actual!r} and the loss expects {config.output!r}")
    x = {name: batch[name].astype(jnp.float32) for name in ("video", "audio")}
    size = x["video"].shape[0]
    has_audio = batch.get("has_audio", jnp.ones((size,), bool))
    names = ("task", "video", "audio", "shared", "history", "noise", "text", "couple")
    keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))

    given, conditional = draw_given(
        keys["task"], size, times, config.tasks, has_audio, config.first_latents
    )
    s_video = draw_levels(keys["video"], size, config.timesteps)
    s_audio = draw_levels(keys["audio"], size, config.timesteps)
    shared = conditional | jax.random.bernoulli(keys["shared"], config.shared_level, (size,))
    s_audio = jnp.where(shared, s_video, s_audio)
    s_audio = jnp.where(has_audio, s_audio, 1.0)  # missing audio is pure noise
    s = {"video": s_video[:, None], "audio": s_audio[:, None]}

    is_noised, amount = jax.random.split(keys["history"])
    history = jax.random.uniform(
        amount, (size,), maxval=config.history_noise
    ) * jax.random.bernoulli(is_noised, 0.5, (size,))
    levels = {m: effective_level(s[m], jnp.where(given[m], history[:, None], 1.0)) for m in x}
    e = {
        m: jax.random.normal(k, x[m].shape)
        for m, k in zip(x, jax.random.split(keys["noise"]), strict=True)
    }
    x_s = {m: interpolate(x[m], e[m], levels[m]) for m in x}
    text = _kept_text(batch, config, keys["text"], jax.random.fold_in(key, 8))
    couple = jax.random.bernoulli(keys["couple"], 1 - config.couple_dropout, (size,)).astype(
        jnp.float32
    )

    output = model(x_s, levels, text, times, couple)

    loss, metrics = 0.0, {}
    for m, weight in (("video", 1.0), ("audio", config.audio_weight)):
        counts = ~given[m] if m == "video" else ~given[m] & has_audio[:, None]
        target = x[m] if config.output == "x" else e[m] - x[m]
        v = to_velocity(target, x_s[m], levels[m], config.output)
        v_hat = to_velocity(output[m].astype(jnp.float32), x_s[m], levels[m], config.output)
        error = jnp.square(v_hat - v).mean(tuple(range(2, v.ndim)))
        mean = (error * counts).sum() / jnp.maximum(counts.sum(), 1)
        loss += weight * mean
        metrics[f"{m}_loss"] = jnp.where(counts.any(), mean, jnp.nan)
        for q, value in enumerate(_by_quarter(error, counts, levels[m]), 1):
            metrics[f"{m}_loss_q{q}"] = value
    return loss, {"loss": loss, **metrics}


def _by_quarter(
    error: Float[Array, "B T"], counts: Bool[Array, "B T"], levels: Float[Array, "B T"]
) -> list[Float[Array, ""]]:
    """Returns the mean error of the latents in each quarter of the noise level, [0, 1/4) first; nan
    for a quarter in which no latent counts.

    Args:
        error: mean squared error of each latent.
        counts: True for the latents that count.
        levels: noise level of each latent.
    """
    quarter = jnp.minimum((levels * QUARTERS).astype(jnp.int32), QUARTERS - 1)
    masks = [counts & (quarter == q) for q in range(QUARTERS)]
    return [(error * inside).sum() / inside.sum() for inside in masks]
