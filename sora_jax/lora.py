"""Files of low-rank updates (LoRA) of a model's weights: saving, loading, merging.

A kernel W is updated to W + a b (`low_rank`, equation 1). A file holds a and b of each updated
kernel, the embedding's rows of new words, and the fingerprint (a hash) of the weights that it
updates. It can be used with no other weights.
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
# The fields of a model card (the metadata of weights) that a file of updates keeps. It has no loss
# curve, so that it stays small.
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
        lora: the trained updates, {path of a kernel: {"a", "b"}}, and the rows of new words
            under `low_rank.ROWS` (made by `training.adapt.begin`).
        base: the weights that they update.
        metadata: the model card of the run. Of its fields, KEPT are stored.

    Raises:
        UserError: an update is not finite or too large for float16, or the file cannot be written.
    """
    known = base.metadata.get("words", ())
    kept = {name: metadata[name] for name in KEPT if name in metadata and name != "words"}
    added = vocabulary.new_words(known, metadata.get("words", ()))
    config = {"base": base.fingerprint, "words": list(added)}
    arrays = low_rank.lora_arrays(lora)
    return weights_lib.save_weights(path, KIND, arrays, config, kept, dtype=np.float16)


def with_lora(base: weights_lib.Weights, path: str | os.PathLike) -> weights_lib.Weights:
    """Returns weights with the updates of a file merged into them, in float32.

    The fingerprint of the result is "BASE+UPDATES", those of the weights and of the file. It gets
    one of its own when it is saved.

    Args:
        base: weights of a model.
        path: the file of updates.

    Raises:
        UserError: the file cannot be read, or its updates were trained on other weights.
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
    """Returns nested dicts of arrays as one dict, {"blocks/0/kernel": array}.

    `above` is put before every path. Default "": none.
    """
    found: dict[str, Any] = {}
    for name, x in params.items():
        inner = _flat(x, f"{above}{name}/") if isinstance(x, Mapping) else {above + name: x}
        found |= inner
    return found


def _card(
    card: Mapping[str, Any], lora: weights_lib.Weights, words: tuple[str, ...]
) -> dict[str, Any]:
    """Returns the model card of merged weights: that of the base, with the fields that the updates
    changed.

    Args:
        card: the model card of the base weights.
        lora: the contents of the file of updates.
        words: all words of the merged model, the new ones last.
    """
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
    """Returns the diffusion transformer in a file of weights, and the weights, both with low-rank
    updates merged into them.

    Args:
        path: the file of weights. Default: the shipped `nano`.
        lora: the file of updates. Default: none.

    Raises:
        UserError: a file cannot be read, or the updates were trained on other weights.
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
        output: the .safetensors file to write.
        weights: the file of the weights that they update. Default: the shipped `nano`.

    Raises:
        UserError: a file cannot be read or written, or the updates were trained on other weights.
    """
    source = weights_lib.shipped("nano") if weights is None else weights
    whole = with_lora(weights_lib.load_weights(source, "st_dit"), lora)
    stored = {path: jnp.asarray(x) for path, x in _flat(whole.params).items()}
    return weights_lib.save_weights(output, "st_dit", stored, whole.config, whole.metadata)
