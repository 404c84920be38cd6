"""Guidance: how strongly text, and the other stream, pull at video and audio.

With v_c the velocity under the prompt, v_u under the negative prompt (or under no text), and v_d
under the prompt but with the cross-attention between video and audio cut, each modality m has

    v_m = v_c + (g_m - 1) (v_c - v_u) + (g_couple - 1) (v_c - v_d)                               (1)

g_m is the text scale of the video or of the audio; a scale of 1 is no guidance, and a pass that
nothing needs is not run. The passes of a step go through the network as one batch. Text:
"Classifier-Free Diffusion Guidance" (Ho 2022); between modalities: LTX-2.
"""

import dataclasses

import jax
import jax.numpy as jnp

from sora_jax.flow.process import SAMPLING_FLOOR, to_velocity

MODALITIES = ("video", "audio")


@dataclasses.dataclass(frozen=True)
class Guidance:
    """Scales of (1): `text` for both streams unless `video` or `audio` says otherwise; `couple`
    between the streams.
    """

    text: float = 2.0
    video: float | None = None
    audio: float | None = None
    couple: float = 1.0

    def scale(self, modality: str) -> float:
        """g_m of (1)."""
        own = self.video if modality == "video" else self.audio
        return self.text if own is None else own

    @property
    def passes(self) -> tuple[str, ...]:
        """The passes of a step, of "text", "negative", "cut"."""
        negative = ("negative",) if any(self.scale(m) != 1 for m in MODALITIES) else ()
        return ("text", *negative, *(("cut",) if self.couple != 1 else ()))

    @property
    def scales(self) -> dict[str, float]:
        """{"video": g_m, "audio": g_m, "couple": g_couple}: the numbers of (1), which change no
        compiled program.
        """
        return {m: self.scale(m) for m in MODALITIES} | {"couple": self.couple}


def guided_velocity(
    model, latents, levels, text, negative, times, passes: tuple[str, ...], scales, output: str
):
    """Equation (1): velocities {"video": [B, T, ...], "audio": [B, N, ...]} at `latents` with the
    frames at `levels`.

    text and negative: {"tokens": int32 [B, L], "mask": bool [B, L]}; a mask of all False is no
    text. passes and scales: of `Guidance`. output: "x" or "v".
    """

    def repeat(x):
        return jnp.concatenate([x] * len(passes))

    texts = {
        k: jnp.concatenate([(negative if p == "negative" else text)[k] for p in passes])
        for k in ("tokens", "mask")
    }
    size = text["mask"].shape[0]
    couple = jnp.repeat(jnp.array([float(p != "cut") for p in passes]), size)
    raw = model(jax.tree.map(repeat, latents), jax.tree.map(repeat, levels), texts, times, couple)
    velocities = {}
    for m in MODALITIES:
        each = jnp.split(raw[m].astype(jnp.float32), len(passes))
        v = {
            p: to_velocity(y, latents[m], levels[m], output, SAMPLING_FLOOR)
            for p, y in zip(passes, each)
        }
        velocities[m] = v["text"]
        if "negative" in v:
            velocities[m] += (scales[m] - 1) * (v["text"] - v["negative"])
        if "cut" in v:
            velocities[m] += (scales["couple"] - 1) * (v["text"] - v["cut"])
    return velocities
