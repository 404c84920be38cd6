"""Low-rank updates of a model's kernels (LoRA), and rows of new words.

    W' = W + a b,    a [in, r],  b [r, out]                                                     (1)

Equation (1) is LoRA (Hu et al., 2021, arXiv:2106.09685) with its scale in b. A stack of blocks has
an a and a b for each block. The network runs with W', so every kernel and sharding of it serves
LoRA too, and merged weights compute the same to the bit.

Parameters of a run with LoRA are {"base": those of the model, "lora": {path: {"a", "b"}, ROWS}}.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.tree import flatten

EMBEDDING = "text/embedding/embedding"
ROWS = "rows"  # what is added to the rows of new words in the embedding
LORA = "lora"


def merged(params: Any, first_row: int = 0) -> Any:
    """Returns parameters of the model from those of a run: equation (1), or unchanged without LoRA.

    Args:
        params: as `begin` returns them.
        first_row: of the new words in the embedding. What is trained of their rows is added.
    """
    if not has_lora(params):
        return params
    base, lora = params["base"], params[LORA]

    def updated(path: str, x: jax.Array) -> jax.Array:
        if path in lora:
            return x + lora[path]["a"] @ lora[path]["b"]
        if path == EMBEDDING and ROWS in lora:
            return x.at[first_row : first_row + len(lora[ROWS])].add(lora[ROWS])
        return x

    leaves = [updated(path, x) for path, x in flatten(base).items()]
    return jax.tree.unflatten(jax.tree.structure(base), leaves)


def has_lora(params: Any) -> bool:
    """Returns whether parameters of a run have low-rank updates beside the model's."""
    return isinstance(params, Mapping) and set(params) == {"base", LORA}


def lora_tree(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what LoRA trains from the arrays of a file, by path: inverts `lora_arrays`."""
    found: dict[str, Any] = {}
    for name, x in arrays.items():
        path, _, part = name.rpartition("/")
        if name == ROWS:
            found[ROWS] = jnp.asarray(x, jnp.float32)
        else:
            found.setdefault(path, {})[part] = jnp.asarray(x, jnp.float32)
    return found


def lora_arrays(lora: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns what LoRA trains as arrays by path, for a file."""
    found: dict[str, np.ndarray] = {}
    for path, x in lora.items():
        parts = {path: x} if path == ROWS else {f"{path}/{part}": y for part, y in x.items()}
        found |= {name: np.asarray(jax.device_get(y), np.float32) for name, y in parts.items()}
    return found
