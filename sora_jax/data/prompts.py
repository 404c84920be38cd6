"""Prompts as arrays that the model reads: tokens, their mask, their shots, and slots of names.

A slot is the place of a character among the references (stills and voice samples) of a clip.
"""

import re
from collections.abc import Sequence

import numpy as np

from sora_jax.models.text_encoder import PromptEncoder
from sora_jax.worlds.playhouse.storyboard_reader import shot_starts

NAME = re.compile(r"@(\w+)")  # name of a character in a text


def encode_prompts(
    tokenizer: PromptEncoder, texts: Sequence[str], names: Sequence[Sequence[str]] | None = None
) -> dict[str, np.ndarray]:
    """Returns the arrays of B prompts.

    If a text is a storyboard (a story written shot by shot), each of its tokens belongs to a shot.
    Tokens before the first shot, and those of any other text, belong to all shots.

    Args:
        tokenizer: list of B texts -> (tokens, mask), with L tokens for each text.
        texts: the prompts.
        names: for each text the names, without "@", of the characters in slots 1, 2, ... Default:
            None, no references.

    Returns:
        A dict of "tokens": ids int32 [B, L], or features float32 [B, L, Df]; "mask": bool [B, L],
        False for padding; "shots": int8 [B, L], the number of the token's shot from 1, 0 for all
        shots; "slots": int8 [B, L], the slot of the character that a token names, 0 for any other
        token.
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
