"""Which parameters of a model a run trains: all, some parts, or low-rank updates (LoRA).

With LoRA every kernel W [in, out] of a linear layer gets an update a b (`low_rank`, equation 1),
at first a ~ N(0, 1 / in) and b = 0. New words of the vocabulary have rows of the embedding, and
updates of these rows are trained too. All other parameters, among them the rows of the old words,
are not changed.
"""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp

from sora_jax.config import within
from sora_jax.low_rank import EMBEDDING, LORA, ROWS, has_lora
from sora_jax.tree import flatten

# Paths of the parameters of each part that can be frozen
PARTS = {
    "video": r"video_|pairs/(space|time)/",
    "audio": r"audio_|pairs/audio/",
    "exchange": r"pairs/exchange/",
    "text": r"text/",
}


@dataclasses.dataclass(frozen=True)
class AdaptConfig:
    """The parameters of a model that a run trains.

    Attributes:
        lora_rank: rank r of the updates, a [in, r] and b [r, out]. Default 0: no LoRA, the weights
            themselves are trained.
        freeze: names of PARTS whose parameters are not trained. Default (): none.
    """

    lora_rank: int = 0
    freeze: tuple[str, ...] = ()

    def __post_init__(self):
        within(self, "[0, inf)", "lora_rank")
        object.__setattr__(self, "freeze", tuple(self.freeze))
        for part in self.freeze:
            if part not in PARTS:
                raise ValueError(f"freeze={part!r}; use some of {', '.join(map(repr, PARTS))}")
        if set(self.freeze) == set(PARTS):
            raise ValueError("freeze names every part, so nothing would be trained; leave one out")


def frozen_path(path: str, config: AdaptConfig) -> bool:
    """Returns whether the parameter of the model at `path` belongs to a frozen part."""
    return any(re.match(PARTS[part], path) for part in config.freeze)


def adapted(path: str, shape: tuple[int, ...], config: AdaptConfig) -> bool:
    """Returns whether the parameter at `path` gets a low-rank update: True for kernels of linear
    layers (two axes, or three in a stack of blocks) outside frozen parts.
    """
    linear = path.rpartition("/")[2] == "kernel" and len(shape) in (2, 3)
    return linear and not frozen_path(path, config)


def begin(base: Any, config: AdaptConfig, key: jax.Array, new_words: int = 0) -> Any:
    """Returns the parameters of a run before its first step.

    Without LoRA they are `base`. With LoRA they are {"base": base, "lora": {path of a kernel:
    {"a": ..., "b": ...}, ROWS: updates of the rows of new words [new_words, D]}}.

    Args:
        base: parameters of the model.
        config: which parameters are trained.
        key: random key that draws the initial a.
        new_words: number of rows of new words in the embedding, which LoRA trains. Default 0.
    """
    if not config.lora_rank:
        return base
    lora: dict[str, Any] = {}
    for number, (path, x) in enumerate(flatten(base).items()):
        if adapted(path, x.shape, config):
            stack, (width, out) = x.shape[:-2], x.shape[-2:]
            scale = width**-0.5
            draw = jax.random.normal(
                jax.random.fold_in(key, number), (*stack, width, config.lora_rank)
            )
            lora[path] = {"a": scale * draw, "b": jnp.zeros((*stack, config.lora_rank, out))}
    if new_words:
        lora[ROWS] = jnp.zeros((new_words, flatten(base)[EMBEDDING].shape[1]))
    return {"base": base, LORA: lora}


def trained(params: Any, config: AdaptConfig) -> Any:
    """Returns a tree of bool like the parameters of a run: True where a parameter is trained."""
    if has_lora(params):
        return {
            "base": jax.tree.map(lambda _: False, params["base"]),
            LORA: jax.tree.map(lambda _: True, params[LORA]),
        }
    names = [not frozen_path(path, config) for path in flatten(params)]
    return jax.tree.unflatten(jax.tree.structure(params), names)


def held(params: Any, config: AdaptConfig) -> Any:
    """Returns the parameters of a run with gradients stopped at those that are not trained."""
    if not config.lora_rank and not config.freeze:
        return params
    mask = trained(params, config)
    return jax.tree.map(lambda x, on: x if on else jax.lax.stop_gradient(x), params, mask)
