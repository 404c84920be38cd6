"""Remarks on a request for the user, and checks of its words and of the arrays generated for it."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sora_jax.errors import UserError
from sora_jax.flow.guidance import MODALITIES
from sora_jax.modality import ClipFormat
from sora_jax.models.text_encoder import PromptEncoder
from sora_jax.pipelines.request import Request
from sora_jax.weights import data_of
from sora_jax.worlds.playhouse.captions import word_hint

LONGEST_WORD = 64  # letters; a longer string, such as a key, is no misspelt word


def _learned_other_words(trained_on: Mapping[str, Any]) -> bool:
    """True if a model was trained on captions of a user's videos, whose words outside the
    vocabulary it learned as hashes.
    """
    return bool(trained_on) and any("family" not in one for one in data_of({"data": trained_on}))


def check_words(
    request: Request, text_tokenizer: PromptEncoder, trained_on: Mapping[str, Any]
) -> None:
    """Raises UserError if a prompt has text, but no word that the model learned.

    A prompt with a string longer than LONGEST_WORD passes. So does any prompt if the request has
    `any_words`, or if the model was trained on unknown data or on a user's videos.

    Args:
        request: the request.
        text_tokenizer: the pipeline's prompt encoder, which knows the vocabulary.
        trained_on: the entry `data` of the metadata in the model's weights; {} if unknown.
    """
    prompt = request.prompt
    if request.any_words or not trained_on or _learned_other_words(trained_on):
        return
    words = [word for word in text_tokenizer.split(prompt or "") if word[0].isalnum()]
    unknown = set(text_tokenizer.unknown(prompt or ""))
    if not prompt or any(word not in unknown or len(word) > LONGEST_WORD for word in words):
        return
    raise UserError(
        f"the model learned no word of the prompt: {_listed(words or [prompt], text_tokenizer)}; "
        'describe a clip such as "a large red ball is dropped and bounces twice"',
        field="prompt",
        override="any_words",
    )


def _listed(words: Iterable[str], text_tokenizer: PromptEncoder) -> str:
    """Returns unknown words, separated by commas, each with `word_hint`."""
    parts = []
    for word in dict.fromkeys(words):
        if len(word) <= LONGEST_WORD:
            parts.append(word + word_hint(word, text_tokenizer.words))
        else:
            parts.append(f"{word[:20]}...")
    return ", ".join(parts)


def request_notes(
    request: Request,
    format: ClipFormat,
    text_tokenizer: PromptEncoder,
    trained_on: Mapping[str, Any],
    tasks: Mapping[str, float],
    added: int,
) -> tuple[str, ...]:
    """Returns remarks for the user on a request.

    Args:
        request: the request.
        format: format of the pipeline's clips.
        text_tokenizer: the pipeline's prompt encoder, which knows the vocabulary.
        trained_on: the entry `data` of the metadata in the model's weights; {} if unknown.
        tasks: weights of the tasks that it was trained on; {} if unknown.
        added: number of video latents by which the request extends given clips; 0 for none.
    """
    notes = []
    if added:
        latent = float(format.frames_per_latent / format.fps)
        seconds = added * latent
        if abs(seconds - request.seconds) > 1e-6:
            notes.append(
                f"{request.seconds:g} s become {seconds:g} s: a clip grows by whole latents "
                f"of {latent:g} s, rounded up"
            )
    if request.prompt is None and request.sources and added:
        notes.append("without a prompt the new part may show anything; give one that describes it")
    if (request.loop or request.between is not None) and tasks and not tasks.get("between"):
        notes.append(
            "the model was not trained to join clips (flow.tasks.between=0), so the new part may "
            "not lead to what follows it"
        )
    scales = request.sampler.guidance
    if request.negative_prompt and all(scales.scale(m) == 1 for m in MODALITIES):
        notes.append("the negative prompt has no effect: guidance is 1; give for example 2")
    for name, text in (("prompt", request.prompt), ("negative prompt", request.negative_prompt)):
        words = [w for w in text_tokenizer.unknown(text or "") if w[0].isalnum()]
        if words and not _learned_other_words(trained_on):
            notes.append(
                f"the {name} has words outside the vocabulary, which the model never "
                f"learned: {_listed(words, text_tokenizer)}"
            )
        if len(text_tokenizer.split(text or "")) > text_tokenizer.length:
            notes.append(f"the {name} is cut after {text_tokenizer.length} words")
    return tuple(notes)


def check_finite(
    request: Request, latents: dict[str, np.ndarray], frames: np.ndarray, samples: np.ndarray
) -> None:
    """Raises UserError if a generated array (of `latents` by modality, frames or samples) has NaN
    or infinity.
    """
    arrays = {
        **{f"{m} latents": latents[m] for m in ("video", "audio") if m in latents},
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
