"""Remarks on a request, and the check of what was generated for it."""

import numpy as np

from sora_jax.errors import UserError
from sora_jax.flow.guidance import MODALITIES
from sora_jax.modality import ClipFormat
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.pipelines.request import Request


def request_notes(
    request: Request, format: ClipFormat, text_tokenizer: TextTokenizer, added: int
) -> tuple[str, ...]:
    """Returns remarks for the user on a request.

    Args:
        request: the request.
        format: format of the pipeline's clips.
        text_tokenizer: the pipeline's text tokenizer.
        added: video latents that a continued clip grows by.
    """
    notes = []
    if request.continued is not None:
        latent = format.frames_per_latent / format.fps
        seconds = added * latent
        if abs(seconds - request.seconds) > 1e-6:
            notes.append(
                f"{request.seconds:g} s become {seconds:g} s: a clip grows by whole latents "
                f"of {latent:g} s, rounded up"
            )
    scales = request.sampler.guidance
    if request.negative_prompt and all(scales.scale(m) == 1 for m in MODALITIES):
        notes.append("the negative prompt has no effect: guidance is 1; give for example 2")
    for name, text in (("prompt", request.prompt), ("negative prompt", request.negative_prompt)):
        words = [w for w in text_tokenizer.unknown(text or "") if w[0].isalnum()]
        if words:
            notes.append(
                f"the {name} has words outside the vocabulary, which the model never "
                f"learned: {', '.join(words)}"
            )
        if len(text_tokenizer.split(text or "")) > text_tokenizer.length:
            notes.append(f"the {name} is cut after {text_tokenizer.length} words")
    return tuple(notes)


def check_finite(
    request: Request, latents: dict[str, np.ndarray], frames: np.ndarray, samples: np.ndarray
) -> None:
    """Raises UserError if a generated array has NaN or infinity."""
    arrays = {
        "video latents": latents["video"],
        "audio latents": latents["audio"],
        "frames": frames,
        "samples": samples,
    }
    for name, x in arrays.items():
        if not np.isfinite(x).all():
            first = int(np.argmin(np.isfinite(x).reshape(len(x), -1).all(1)))
            guidance = request.sampler.guidance.text
            raise UserError(
                f"the {name} made with seed {request.seed} are NaN or infinite from number "
                f"{first} of {len(x)} on, so there "
                f"is no clip; lower the guidance (now {guidance:g}), or use other weights"
            )
