"""Prompts as the model reads them: ids of words, which of them are words, their shots, and the
slots of names.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from sora_jax.models.text_encoder import word_offsets
from sora_jax.worlds.playhouse.storyboard_reader import shot_starts

Tokenizer = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]


def encode_prompts(
    tokenizer: Tokenizer, texts: Sequence[str], names: Sequence[Sequence[str]] | None = None
) -> dict[str, np.ndarray]:
    """Returns the arrays of B prompts.

    A text that is a storyboard tells the shot of each word. Words before the first shot, and those
    of any other text, belong to all shots.

    Args:
        tokenizer: list of B texts -> (ids int32 [B, L], mask bool [B, L]), a `TextTokenizer`.
        texts: the prompts.
        names: for each text the names of the characters whose references stand in slots 1, 2, ...,
            without "@". Default: None, no references.

    Returns:
        {"tokens": ids int32 [B, L], "mask": bool [B, L], True for a word, "shots": int8 [B, L], the
        number of the word's shot from 1, 0 for all shots, "slots": int8 [B, L], the slot of a name
        from 1, 0 for any other word}.
    """
    tokens, mask = tokenizer(texts)
    shots, slots = np.zeros(tokens.shape, np.int8), np.zeros(tokens.shape, np.int8)
    for row, text in zip(shots, texts, strict=True):
        if starts := shot_starts(text):
            offsets = word_offsets(text)[: len(row)]
            row[: len(offsets)] = np.searchsorted(starts, offsets, side="right")
    for row, text, cast in zip(slots, texts, names or [()] * len(texts), strict=True):
        found = [text[start:] for start in word_offsets(text)[: len(row)]] if cast else []
        for place, rest in enumerate(found):
            for slot, name in enumerate(cast, 1):
                if re.match(rf"{re.escape(name)}\b", rest) and found[place - 1].startswith("@"):
                    row[place] = slot
    return {
        "tokens": np.asarray(tokens),
        "mask": np.asarray(mask),
        "shots": shots,
        "slots": slots,
    }
