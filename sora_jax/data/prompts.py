"""Prompts as the model reads them: ids of words, which of them are words, and their shots."""

from collections.abc import Callable, Sequence

import numpy as np

from sora_jax.models.text_encoder import word_offsets
from sora_jax.worlds.playhouse.storyboard_reader import shot_starts

Tokenizer = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]


def encode_prompts(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the arrays of B prompts.

    A text that is a storyboard tells the shot of each word. Words before the first shot, and those
    of any other text, belong to all shots.

    Args:
        tokenizer: list of B texts -> (ids int32 [B, L], mask bool [B, L]), a `TextTokenizer`.
        texts: the prompts.

    Returns:
        {"tokens": ids int32 [B, L], "mask": bool [B, L], True for a word, "shots": int8 [B, L], the
        number of the word's shot from 1, and 0 for all shots}.
    """
    tokens, mask = tokenizer(texts)
    shots = np.zeros(tokens.shape, np.int8)
    for row, text in zip(shots, texts, strict=True):
        if starts := shot_starts(text):
            offsets = word_offsets(text)[: len(row)]
            row[: len(offsets)] = np.searchsorted(starts, offsets, side="right")
    return {"tokens": np.asarray(tokens), "mask": np.asarray(mask), "shots": shots}
