"""Paths of parameters: a tree of arrays as a flat dict."""

from typing import Any

import jax


def flatten(params: Any) -> dict[str, Any]:
    """Returns the leaves of an nnx State, or of nested dicts, by path: {"blocks/0/kernel": array}.
    They are in the order of `jax.tree.leaves`.
    """
    flat = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        keys = [_key(p) for p in path]
        flat["/".join(k for k in keys if k is not None)] = leaf
    return flat


def _key(entry: Any) -> str | None:
    for name in ("key", "idx"):
        if hasattr(entry, name):
            return str(getattr(entry, name))
    # nnx wraps each array in a variable, whose `value` is no part of the path
    return None if getattr(entry, "name", None) == "value" else str(getattr(entry, "name", entry))
