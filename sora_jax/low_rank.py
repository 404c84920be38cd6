"""Low-rank updates of a model's kernels (LoRA), and rows of new words.

    W' = W + a b,    a [in, r],  b [r, out]                                                     (1)

W is the kernel of a linear layer, and r the rank of the update. Equation (1) is LoRA (Hu et al.,
2021, arXiv:2106.09685) with its scale in b. Kernels of a stack of blocks have a leading axis, and
so have their a and b. The network always runs with W'. Fused kernels and shardings of the model
therefore serve LoRA too, and merged weights compute the same to the bit.

The parameters of a training run with LoRA are

    {"base": the model's parameters,
     "lora": {path of a kernel: {"a": a, "b": b}, "rows": [n, D]}}

where "rows" is added to the embedding's rows of n new words, and is absent without new words.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.tree import flatten

EMBEDDING = "text/embedding/embedding"
ROWS = "rows"  # key of the updates of new words' rows in the embedding
LORA = "lora"


def merged(params: Any, first_row: int = 0) -> Any:
    """Returns the model's parameters with the updates of a run added: W + a b, equation (1).

    Args:
        params: the parameters of a run (`training.adapt.begin`): {"base", "lora"} as above, or
            those of the model alone, which are returned unchanged.
        first_row: index of the first new word's row in the embedding. Default 0.
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
    """Returns whether the parameters of a run are {"base", "lora"}, with low-rank updates beside
    the model's parameters.
    """
    return isinstance(params, Mapping) and set(params) == {"base", LORA}


def lora_tree(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns updates {path: {"a", "b"}, ROWS} from the arrays of a file, keyed "PATH/a", "PATH/b"
    and ROWS. Inverts `lora_arrays`.
    """
    found: dict[str, Any] = {}
    for name, x in arrays.items():
        path, _, part = name.rpartition("/")
        if name == ROWS:
            found[ROWS] = jnp.asarray(x, jnp.float32)
        else:
            found.setdefault(path, {})[part] = jnp.asarray(x, jnp.float32)
    return found


def lora_arrays(lora: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns updates {path: {"a", "b"}, ROWS} as the float32 arrays of a file, keyed "PATH/a",
    "PATH/b" and ROWS.
    """
    found: dict[str, np.ndarray] = {}
    for path, x in lora.items():
        parts = {path: x} if path == ROWS else {f"{path}/{part}": y for part, y in x.items()}
        found |= {name: np.asarray(jax.device_get(y), np.float32) for name, y in parts.items()}
    return found
