"""Differences between versions of JAX, and the settings of the process, in one place."""

import os
from pathlib import Path

import jax


def enable_compile_cache(path: str | os.PathLike | None = None) -> Path | None:
    """Keep compiled programs on disk, so that a command's second run does not compile; returns the
    folder, or None if unusable.

    path: default $JAX_COMPILATION_CACHE_DIR, else $XDG_CACHE_HOME/sora_jax/jax, else
    ~/.cache/sora_jax/jax. Without it, a folder that JAX is set to use already stays.
    """
    if path is None and jax.config.jax_compilation_cache_dir:
        return Path(jax.config.jax_compilation_cache_dir)
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
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def orbax_v1():
    """Orbax's API v1, as a module: `orbax.checkpoint.v1` in its newer releases, under
    `experimental` in 0.12. Slow to import.
    """
    try:  # whichever there is; inside, since a command that saves nothing need not wait for it
        from orbax.checkpoint import v1
    except ImportError:
        from orbax.checkpoint.experimental import v1
    return v1


def shard_map_axes(params: dict) -> frozenset[str]:
    """The mesh axes that a `shard_map` equation of a jaxpr splits its work over:
    `newly_manual_axes`, of old `manual_axes`.
    """
    return params["newly_manual_axes"] if "newly_manual_axes" in params else params["manual_axes"]
