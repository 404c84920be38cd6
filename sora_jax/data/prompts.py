"""Prompts as the model reads them: ids of words, which of them are words, their shots, and the
slots of names.
"""

import re
from collections.abc import Sequence

import numpy as np

from sora_jax.models.text_encoder import PromptEncoder
from sora_jax.worlds.playhouse.storyboard_reader import shot_starts

NAME = re.compile(r"@(\w+)")  # of a character in a text


def encode_prompts(
    tokenizer: PromptEncoder, texts: Sequence[str], names: Sequence[Sequence[str]] | None = None
) -> dict[str, np.ndarray]:
    """Returns the arrays of B prompts.

    A text that is a storyboard tells the shot of each word. Words before the first shot, and those
    of any other text, belong to all shots.

    Args:
        tokenizer: makes the tokens of a text.
        texts: the prompts.
        names: for each text the names of the characters whose references stand in slots 1, 2, ...,
            without "@". Default: None, no references.

    Returns:
        {"tokens": ids int32 [B, L], or features float32 [B, L, Df], "mask": bool [B, L], True for a
        word, "shots": int8 [B, L], the number of the word's shot from 1, 0 for all shots, "slots":
        int8 [B, L], the slot of a name from 1, 0 for any other word}.
    """
    tokens, mask = map(np.asarray, tokenizer(texts))
    shots = np.zeros((len(texts), mask.shape[1]), np.int8)
    slots = np.zeros_like(shots)
    for row, text in zip(shots, texts, strict=True):
        if starts := shot_starts(text):
            offsets = tokenizer.offsets(text)[: len(row)]
            row[: len(offsets)] = np.searchsorted(starts, offsets, side="right")
    for row, text, cast in zip(slots, texts, names or [()] * len(texts), strict=True):
        place_of = {
            offset: place for place, offset in enumerate(tokenizer.offsets(text)[: len(row)])
        }
        for name in NAME.finditer(text):
            if name[1] in cast and name.start(1) in place_of:
                row[place_of[name.start(1)]] = 1 + list(cast).index(name[1])
    return {
        "tokens": tokens,
        "mask": mask,
        "shots": shots,
        "slots": slots,
    }
