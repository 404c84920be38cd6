"""Growth of a vocabulary: new words get ids of their own, and the ids of old words do not change.

An embedding has a row for padding, one for each known word, and one for each bucket; all other
words are hashed into buckets. A new word starts with a copy of the row of its bucket. So the model
computes the same as before for every prompt, until it is trained.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from sora_jax.models.text_encoder import TextTokenizer, fnv1a


def new_words(known: Sequence[str], words: Iterable[str]) -> tuple[str, ...]:
    """Returns those of `words` that are not in `known`, each once, in order."""
    return tuple(word for word in dict.fromkeys(words) if word not in set(known))


def words_of(captions: Iterable[str]) -> tuple[str, ...]:
    """Returns the words and punctuation marks of captions, each once, sorted."""
    split = TextTokenizer(()).split
    return tuple(sorted({word for caption in captions for word in split(caption)}))


def grown(embedding: Any, known: Sequence[str], added: Sequence[str]) -> Any:
    """Returns an embedding [V + n, D] with rows for n new words, from one [V, D].

    Args:
        embedding: one row for each id of a `TextTokenizer` whose known words are `known`.
        known: the words so far.
        added: the new words (`new_words`).
    """
    first = 1 + len(known)
    buckets = len(embedding) - first
    places = np.array([first + fnv1a(word) % buckets for word in added], int)
    return jnp.concatenate([embedding[:first], embedding[places], embedding[first:]])


def with_rows(params: Mapping[str, Any], known: Sequence[str], added: Sequence[str]) -> Any:
    """Returns a model's parameters with rows of the embedding for new words (`grown`).

    Args:
        params: the parameters, nested dicts of arrays.
        known: the words so far.
        added: the new words. Without any, `params` is returned.
    """
    if not added:
        return params
    text = params["text"]
    table = grown(text["embedding"]["embedding"], known, added)
    return {**params, "text": {**text, "embedding": {"embedding": table}}}
