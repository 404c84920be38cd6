"""Files of low-rank updates (LoRA) of a model's weights, and their use.

A file holds a and b of each updated kernel (`low_rank`, equation 1), the rows of new words, and the
fingerprint of the weights that it updates: it is of use with no others.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from sora_jax import config as config_lib
from sora_jax import low_rank
from sora_jax import weights as weights_lib
from sora_jax.errors import UserError
from sora_jax.models import vocabulary
from sora_jax.models.st_dit import STDiT, STDiTConfig

KIND = "lora"
# Of a card, what a file of updates repeats: it should stay small.
KEPT = ("data", "formats", "tokenizers", "words", "text_length", "steps", "hours", "hardware")


def save_lora(
    path: str | os.PathLike,
    lora: Mapping[str, Any],
    base: weights_lib.Weights,
    metadata: Mapping[str, Any],
) -> str:
    """Writes updates in float16, and returns their fingerprint.

    Args:
        path: the .safetensors file.
        lora: what LoRA trains (`low_rank.begin`).
        base: the weights that it updates.
        metadata: the card of the run.
    """
    known = base.metadata.get("words", ())
    kept = {name: metadata[name] for name in KEPT if name in metadata and name != "words"}
    added = vocabulary.new_words(known, metadata.get("words", ()))
    config = {"base": base.fingerprint, "words": list(added)}
    arrays = low_rank.lora_arrays(lora)
    return weights_lib.save_weights(path, KIND, arrays, config, kept, dtype=np.float16)


def with_lora(base: weights_lib.Weights, path: str | os.PathLike) -> weights_lib.Weights:
    """Returns weights with the updates of a file merged into them, in float32.

    The result has no fingerprint of its own yet, but that of the weights and of the file, joined.

    Args:
        base: weights of a model.
        path: the file of updates.

    Raises:
        UserError: the file cannot be read, or is of other weights.
    """
    loaded = weights_lib.load_weights(path, KIND)
    if loaded.config["base"] != base.fingerprint:
        raise UserError(
            f"{path} updates the weights {loaded.config['base']}, not {base.fingerprint}; give "
            "those that it was trained on",
            field="lora",
        )
    known, added = tuple(base.metadata.get("words", ())), tuple(loaded.config["words"])
    params = vocabulary.with_rows(base.params, known, added)
    merged = low_rank.merged(
        {"base": params, low_rank.LORA: low_rank.lora_tree(_flat(loaded.params))}, 1 + len(known)
    )
    config = {**base.config, "vocabulary": base.config["vocabulary"] + len(added)}
    return dataclasses.replace(
        base,
        params=merged,
        config=config,
        metadata=_card(base.metadata, loaded, (*known, *added)),
        fingerprint=f"{base.fingerprint}+{loaded.fingerprint}",
    )


def _flat(params: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Returns nested dicts of arrays by path."""
    found: dict[str, Any] = {}
    for name, x in params.items():
        inner = _flat(x, f"{above}{name}/") if isinstance(x, Mapping) else {above + name: x}
        found |= inner
    return found


def _card(
    card: Mapping[str, Any], lora: weights_lib.Weights, words: tuple[str, ...]
) -> dict[str, Any]:
    """Returns the card of merged weights: that of the base, with what the updates changed."""
    own = lora.metadata
    sets = [*weights_lib.data_of(card), *weights_lib.data_of(own)]
    named = {f"set_{i}": dict(one) for i, one in enumerate(sets) if one}
    return {
        **card,
        "data": {"sets": named},
        "formats": own.get("formats", card.get("formats", [card.get("format", "nano")])),
        "tokenizers": own.get("tokenizers", card.get("tokenizers")),
        "text_length": own.get("text_length", card.get("text_length")),
        "words": list(words),
        "lora": lora.fingerprint,
    }


def load_model(
    path: str | os.PathLike | None = None, lora: str | os.PathLike | None = None
) -> tuple[STDiT, weights_lib.Weights]:
    """Returns the model of a file of weights, and the weights, both with the updates of a file.

    Args:
        path: the weights. Default: the shipped `nano`.
        lora: the updates. Default: none.
    """
    if lora is None:
        return weights_lib.load_model(path)
    file = weights_lib.shipped("nano") if path is None else path
    weights = with_lora(weights_lib.load_weights(file, "st_dit"), lora)
    config = config_lib.from_dict(STDiTConfig, weights.config, f"{file}: config")
    return weights_lib.build(STDiT, config, weights, str(file)), weights


def merge(
    lora: str | os.PathLike, output: str | os.PathLike, weights: str | os.PathLike | None = None
) -> str:
    """Writes weights with updates merged into them, in float32, and returns their fingerprint.

    Args:
        lora: the file of updates.
        output: the file to write.
        weights: those that they update. Default: the shipped `nano`.

    Raises:
        UserError: a file cannot be read or written, or the updates are of other weights.
    """
    source = weights_lib.shipped("nano") if weights is None else weights
    whole = with_lora(weights_lib.load_weights(source, "st_dit"), lora)
    stored = {path: jnp.asarray(x) for path, x in _flat(whole.params).items()}
    return weights_lib.save_weights(output, "st_dit", stored, whole.config, whole.metadata)
