"""Differences between JAX versions, and process-wide JAX settings, in one place."""

import os
import sys
from pathlib import Path
from typing import Any

import jax

from sora_jax.errors import UserError


def enable_compile_cache(path: str | os.PathLike | None = None) -> Path | None:
    """Enables JAX's on-disk compilation cache, so a command's second run does not compile.

    Args:
        path: the cache folder. Default: the folder that JAX is already set to use, else
            $JAX_COMPILATION_CACHE_DIR, else $XDG_CACHE_HOME/sora_jax/jax, else
            ~/.cache/sora_jax/jax.

    Returns:
        The folder, or None if it cannot be written or there is no home folder. In that case a note
        on stderr says so, and programs are compiled in every process.
    """
    given = path or jax.config.values["jax_compilation_cache_dir"]
    given = given or os.environ.get("JAX_COMPILATION_CACHE_DIR")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.path.expanduser(given or os.path.join(cache, "sora_jax", "jax")))
    reason = "there is no home folder"
    try:
        usable = not str(folder).startswith("~")
        if usable:
            reason = f"{folder} cannot be written"
            folder.mkdir(parents=True, exist_ok=True)
            usable = os.access(folder, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        jax.config.update("jax_compilation_cache_dir", None)
        tell_once(f"{reason}, so compiled programs are not kept; set JAX_COMPILATION_CACHE_DIR")
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Cache small programs too. JAX's default threshold is 1 s; -1 turns off the size limit.
    for name, value in {"min_compile_time_secs": 0.2, "min_entry_size_bytes": -1}.items():
        if f"JAX_PERSISTENT_CACHE_{name.upper()}" not in os.environ:
            jax.config.update(f"jax_persistent_cache_{name}", value)
    return folder


_told: set[str] = set()


def tell_once(note: str) -> None:
    """Prints a note on stderr, once in a process."""
    if note not in _told:
        _told.add(note)
        print(f"note: {note}", file=sys.stderr)


def check_platform() -> None:
    """Initialises JAX's devices. Call it before work that needs them.

    Raises:
        UserError: a platform of JAX_PLATFORMS is absent or cannot be initialised.
    """
    if (error := platform_error()) is not None:
        raise error


def platform_error() -> UserError | None:
    """Initialises JAX's devices. Returns None, or the error to show the user if that fails.

    Without this call, JAX raises RuntimeError, or AssertionError without a text, at the place where
    a device is first needed.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        return _absent(str(error))
    return None


def _absent(error: str) -> UserError:
    asked = jax.config.values["jax_platforms"] or os.environ.get("JAX_PLATFORMS", "")
    reason = " ".join(error.split()).partition(" (set JAX_PLATFORMS=")[0]
    reason = f" ({reason})" if reason else ""
    if not asked:
        return UserError(f"JAX cannot use a device{reason}; set JAX_PLATFORMS=cpu to do without")
    return UserError(
        f"JAX_PLATFORMS={asked}: JAX finds no such platform here{reason}; unset JAX_PLATFORMS or "
        "set it to cpu, or install the platform: pip install 'sora_jax[cuda12]', or [tpu]"
    )


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
    """Returns the names of the mesh axes over which a `shard_map` equation of a jaxpr splits its
    work.

    `params` is the dictionary of the equation's parameters. It holds the axes as
    `newly_manual_axes` in newer JAX versions, and as `manual_axes` in older ones.
    """
    return params["newly_manual_axes"] if "newly_manual_axes" in params else params["manual_axes"]
