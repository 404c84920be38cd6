"""Guidance by text (classifier-free) and between video and audio.

The network is evaluated several times, in passes with different inputs. v_c is the velocity with
the prompt, v_u with the negative prompt (or without text), v_d with the prompt and without the
cross-attention between video and audio, and v_r with the prompt and without references of
characters. Each modality m then has

    v_m = v_c + (g_m - 1) (v_c - v_u) + (g_couple - 1) (v_c - v_d) + (g_ref - 1) (v_c - v_r)     (1)

g_m is the text scale of video or audio. A scale of 1 means no guidance, and a pass that no
scale needs is skipped. All passes of a step run through the network as one batch. Sources: for
text, "Classifier-Free Diffusion Guidance" (Ho & Salimans 2022, arXiv:2207.12598); between
modalities, LTX-2 (HaCohen et al. 2026, arXiv:2601.03233).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sora_jax.flow.process import SAMPLING_FLOOR, to_velocity
from sora_jax.typing import Latents, Levels, Prompts, Scalar, Times

MODALITIES = ("video", "audio")


@dataclasses.dataclass(frozen=True)
class Guidance:
    """Guidance scales of a sampler: by text (classifier-free), between video and audio, and by
    references of characters.

    A scale of 1 turns guidance off.

    Attributes:
        text: text scale of both modalities, g_m. Default 2.
        video: text scale of video. Default None: `text`.
        audio: text scale of audio. Default None: `text`.
        couple: scale between video and audio, g_couple. Default 1.
        reference: scale of the references of characters, g_ref. Default 1.
    """

    text: float = 2.0
    video: float | None = None
    audio: float | None = None
    couple: float = 1.0
    reference: float = 1.0

    def scale(self, modality: str) -> float:
        """Returns the text scale of a modality, "video" or "audio"."""
        scale = self.video if modality == "video" else self.audio
        return self.text if scale is None else scale

    @property
    def passes(self) -> tuple[str, ...]:
        """The network evaluations that a step needs, by name.

        "text" is the prompt, "negative" the negative prompt, needed if a text scale is not 1, "cut"
        the prompt without the exchange of video and audio, needed if `couple` is not 1, and
        "unreferenced" the prompt without references, needed if `reference` is not 1.
        """
        needed = {
            "negative": any(self.scale(m) != 1 for m in MODALITIES),
            "cut": self.couple != 1,
            "unreferenced": self.reference != 1,
        }
        return ("text", *(name for name, asked in needed.items() if asked))

    @property
    def scales(self) -> dict[str, float]:
        """The scales by name: "video" and "audio" (text scales), "couple" and "reference".

        They are traced, so other values do not recompile a program.
        """
        others = {"couple": self.couple, "reference": self.reference}
        return {m: self.scale(m) for m in MODALITIES} | others


def guided_velocity(
    model: Callable[..., Latents],
    latents: Latents,
    levels: Levels,
    text: Prompts,
    negative: Prompts,
    times: Times,
    passes: tuple[str, ...],
    scales: Mapping[str, Scalar | Float[Array, "B ..."]],
    output: str,
    sizes: Levels | None = None,
) -> dict[str, Float[Array, "B ..."]]:
    """Returns the velocity under guidance, equation (1) of this module.

    Args:
        model: (latents, levels, text, times, couple) -> its output by modality, as
            `sora_jax.models.st_dit.STDiT`.
        latents: noisy latents {"video": [B, T, ...], "audio": [B, N, ...]}.
        levels: noise level of every latent, {"video": [B, T], "audio": [B, N]}.
        text, negative: prompt and negative prompt, {"tokens": int32 [B, L], "mask": bool [B, L]},
            with the same further entries in both. An all-False mask means no text.
        times: midpoints of the latents in seconds, {"video": [T], "audio": [N]}.
        passes: names of the passes (`Guidance.passes`), static.
        scales: scales by name (`Guidance.scales`), traced; a scale may also be an array
            that differs from clip to clip, [B, 1, ...].
        output: output of the network, "x" (clean latents) or "v" (velocity).
        sizes: by how much the step lowers each level, like `levels`, for a network that takes it
            (`sora_jax.flow.shortcut`). Default None: it takes none.

    Returns:
        Velocities with the shapes of the latents, float32.
    """

    def repeat(x: Array) -> Array:
        return jnp.concatenate([x] * len(passes))

    def prompt(name: str) -> Any:
        if name == "unreferenced" and text.get("references"):
            references = text["references"]
            hidden = jnp.zeros_like(references["present"])
            return {**text, "references": {**references, "present": hidden}}
        return negative if name == "negative" else text

    texts = jax.tree.map(lambda *x: jnp.concatenate(x), *map(prompt, passes))
    size = text["mask"].shape[0]
    couple = jnp.repeat(jnp.array([float(p != "cut") for p in passes]), size)
    others = {} if sizes is None else {"sizes": jax.tree.map(repeat, sizes)}
    outputs = model(
        jax.tree.map(repeat, latents), jax.tree.map(repeat, levels), texts, times, couple, **others
    )
    velocities = {}
    for m in MODALITIES:
        of_passes = jnp.split(outputs[m].astype(jnp.float32), len(passes))
        v = {
            p: to_velocity(y, latents[m], levels[m], output, SAMPLING_FLOOR)
            for p, y in zip(passes, of_passes, strict=True)
        }
        velocities[m] = v["text"]
        if "negative" in v:
            velocities[m] += (scales[m] - 1) * (v["text"] - v["negative"])
        if "cut" in v:
            velocities[m] += (scales["couple"] - 1) * (v["text"] - v["cut"])
        if "unreferenced" in v:
            velocities[m] += (scales["reference"] - 1) * (v["text"] - v["unreferenced"])
    return velocities
