"""Differences between JAX versions, and process-wide JAX settings, in one place."""

import os
from pathlib import Path
from typing import Any

import jax


def enable_compile_cache(path: str | os.PathLike | None = None) -> Path | None:
    """Enables JAX's on-disk compilation cache, so a command's second run does not compile.

    Args:
        path: the cache folder. Default: the folder that JAX is already set to use, else
            $JAX_COMPILATION_CACHE_DIR, else $XDG_CACHE_HOME/sora_jax/jax, else
            ~/.cache/sora_jax/jax.
    Returns:
        The folder, or None if it cannot be written.
    """
    configured = getattr(jax.config, "jax_compilation_cache_dir", None)
    if path is None and configured:
        return Path(configured)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(
        path or os.environ.get("JAX_COMPILATION_CACHE_DIR") or Path(cache) / "sora_jax" / "jax"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Cache small programs too. JAX's default threshold is 1 s; -1 turns off the size limit.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def orbax_v1() -> Any:
    """Imports and returns Orbax's v1 API.

    It is `orbax.checkpoint.v1` in newer releases and `orbax.checkpoint.experimental.v1` in 0.12.
    The import is slow.
    """
    try:  # imported here, so that commands that save nothing do not wait for it
        from orbax.checkpoint import v1
    except ImportError:
        from orbax.checkpoint.experimental import v1
    return v1


def shard_map_axes(params: dict) -> frozenset[str]:
    """Returns the mesh axes over which a `shard_map` equation of a jaxpr splits its work.

    The parameter is `newly_manual_axes`; older JAX versions call it `manual_axes`.
    """
    return params["newly_manual_axes"] if "newly_manual_axes" in params else params["manual_axes"]
