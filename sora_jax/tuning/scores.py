"""Scores of a fine-tuned model on held-out clips of any videos: losses, and a distance of features.

The oracles of this project measure balls, faces and voices of its own world, and say nothing of
other videos. So these are scored instead:

    loss        the validation loss of each clip before and after training, with the same noise
    levels      the validation loss by quarter of the noise level, q1 the cleanest
    distance    sum_i (m_i - n_i)^2 + (s_i - t_i)^2                                              (1)

The distance is the Frechet distance of two Gaussians with diagonal covariances, fitted to the
features of two sets of clips: m and n are the means of feature i over the clips of each set, s and
t the standard deviations. A clip's `features` are means and standard deviations of the video
tokenizer's latents and of log-mel levels. Each feature is first divided by its standard deviation
over the training clips. The distance is no FVD and compares with no other work.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax import lora as lora_files
from sora_jax import weights as weights_lib
from sora_jax.clip import Clip
from sora_jax.contact_sheet import log_mel
from sora_jax.data.latents.loader import batches
from sora_jax.evaluation.statistics import interval
from sora_jax.flow.loss import flow_loss
from sora_jax.models.vocabulary import new_words, with_rows
from sora_jax.pipelines.load import text_tokenizer_of
from sora_jax.training.program import validation_flow
from sora_jax.training.run import Run

DRAWS = 4  # draws of noise and noise levels for each clip
BANDS = 8  # mel bands of the sound in the features
QUIET = -60.0  # lowest level of the sound, in dB; also that of a clip without audio


@dataclasses.dataclass(frozen=True)
class Losses:
    """Validation losses of a model before and after training, of the same clips and noise.

    Attributes:
        before, after: the loss of each of n clips, [n].
        levels: the mean loss by quarter of the noise level, {"video_loss_q1": (before, after),
            ...}; None where no clip was drawn in the quarter, or its modality is not scored.
    """

    before: np.ndarray
    after: np.ndarray
    levels: dict[str, tuple[float | None, float | None]]

    def summary(self) -> dict[str, Any]:
        """Returns the mean losses by name as JSON values, and the mean of "fall", the loss before
        less that after, with its 95 % interval over clips.
        """
        fall = self.before - self.after
        return {
            "clips": len(fall),
            "before": float(self.before.mean()),
            "after": float(self.after.mean()),
            "fall": float(fall.mean()),
            "fall_interval": list(interval(fall)),
            "levels": self.levels,
        }


def load_after(weights: Path, base: str) -> tuple[Any, weights_lib.Weights]:
    """Returns the model that a training wrote, and its weights.

    Args:
        weights: the file that it wrote: weights, or low-rank updates (lora.safetensors).
        base: the file of the weights that low-rank updates are added to.
    """
    if weights.name == "lora.safetensors":
        return lora_files.load_model(base, weights)
    return weights_lib.load_model(weights)


def losses(run: Run, latents: Path, base_file: str, weights: Path, most: int) -> Losses:
    """Returns the losses of held-out clips before and after a training.

    Args:
        run: the configuration of the training.
        latents: the folder of the held-out clips' latents.
        base_file: the weights that the training started from.
        weights: the file that the training wrote.
        most: the largest number of clips.
    """
    model, after = load_after(weights, base_file)
    base = weights_lib.load_weights(base_file, "st_dit")
    tokenizer = text_tokenizer_of(after)
    known = tuple(base.metadata.get("words", ()))
    params = with_rows(base.params, known, new_words(known, after.metadata["words"]))
    first = weights_lib.build(
        type(model), model.config, dataclasses.replace(base, params=params), "the base"
    )
    clips = batches(latents, tokenizer, 1, seed=0, shuffle=False, repeat=1)
    flow = validation_flow(run.flow)

    @functools.partial(jax.jit, static_argnames="flow")
    def loss(model: Any, batch: Any, key: Any, flow: Any) -> Any:
        return flow_loss(model, batch, key, batch["times"], flow)[1]

    rows: dict[str, list[list[dict[str, float]]]] = {"before": [], "after": []}
    for n in range(min(most, len(clips))):
        for name, one in (("before", first), ("after", model)):
            keys = [jax.random.fold_in(jax.random.key(draw), n) for draw in range(DRAWS)]
            rows[name].append(jax.device_get([loss(one, clips[n], key, flow) for key in keys]))
    levels = [f"{m}_loss_q{q}" for m in ("video", "audio") for q in (1, 2, 3, 4)]
    means = {
        name: {k: _mean([row[k] for clip in of for row in clip]) for k in ("loss", *levels)}
        for name, of in rows.items()
    }
    by_clip = {
        name: np.array([np.mean([row["loss"] for row in clip]) for clip in of])
        for name, of in rows.items()
    }
    return Losses(
        by_clip["before"],
        by_clip["after"],
        {name: (means["before"][name], means["after"][name]) for name in levels},
    )


def _mean(values: Sequence[float]) -> float | None:
    """Returns the mean of the finite values; None without any."""
    numbers = [float(x) for x in values if np.isfinite(x)]
    return float(np.mean(numbers)) if numbers else None


@jax.jit
def _latents(tokenizer: Any, frames: jax.Array) -> jax.Array:
    return tokenizer.encode(frames[None])[0]


def features(tokenizer: Any, clip: Clip) -> np.ndarray:
    """Returns the features of a clip, [2 C + 2 BANDS].

    They are the mean and the standard deviation of each of the C channels of the video tokenizer's
    latents, and of the level of each of BANDS mel bands of the sound, in units of -QUIET dB.

    Args:
        tokenizer: the video tokenizer.
        clip: frames float [F, H, W, 3], and samples [S] or None.
    """
    z = np.asarray(_latents(tokenizer, jnp.asarray(clip.frames, jnp.float32)))
    z = z.reshape(-1, z.shape[-1])
    sound = np.zeros((BANDS, 1)) + QUIET
    if clip.samples is not None:
        sound = np.maximum(log_mel(clip.samples, bands=BANDS), QUIET)
    return np.concatenate([z.mean(0), z.std(0), sound.mean(1) / -QUIET, sound.std(1) / -QUIET])


def frechet(first: np.ndarray, second: np.ndarray, scale: np.ndarray) -> float:
    """Returns the distance of two sets of features, equation (1).

    Args:
        first, second: D features of each clip of the two sets, [n, D] and [m, D].
        scale: standard deviation of each feature over the training clips, [D].
    """
    a, b = first / scale, second / scale
    means, deviations = a.mean(0) - b.mean(0), a.std(0) - b.std(0)
    return float(np.square(means).sum() + np.square(deviations).sum())


def distances(
    tokenizer: Any, sets: Mapping[str, Sequence[Clip]], reference: str, scale_of: str
) -> dict[str, float]:
    """Returns the distance of each other set of clips from the set `reference`, by name.

    Args:
        tokenizer: the video tokenizer.
        sets: clips of each set by name.
        reference: the name of the set of held-out clips.
        scale_of: the name of the set of training clips, whose deviations scale the features.
    """
    found = {name: np.stack([features(tokenizer, c) for c in of]) for name, of in sets.items()}
    scale = np.maximum(found[scale_of].std(0), 1e-3)
    return {
        name: frechet(of, found[reference], scale)
        for name, of in found.items()
        if name != reference
    }
