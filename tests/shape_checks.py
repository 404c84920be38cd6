"""The type checker of the import hook in `conftest.py`, and the modules that it checks.

It checks the shapes and dtypes of arrays. Other wrong arguments meet the code's own errors, which
the tests are about.
"""

import types
import typing
from collections.abc import Callable

import jax
import numpy as np
from beartype import beartype
from jaxtyping import AbstractArray

CHECKED_MODULES = [
    "sora_jax.nn",
    "sora_jax.models",
    "sora_jax.flow",
    "kernels.conv_prologue.api",
    "kernels.cross_attention.api",
    "kernels.gated_norm.api",
    "kernels.spatial_attention.api",
    "kernels.temporal_attention.api",
]


def check(function: Callable) -> Callable:
    """Decorator: checks the arguments and results that are annotated with a shape."""
    shapes = {
        name: _numpy_too(annotation)
        for name, annotation in function.__annotations__.items()
        if _is_shape(annotation)
    }
    if not shapes:
        return function
    function.__annotations__ = shapes
    return beartype(function)


def _is_shape(annotation: object) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        return True
    return any(_is_shape(part) for part in typing.get_args(annotation))


def _numpy_too(annotation: typing.Any) -> typing.Any:
    """JAX's functions take a NumPy array wherever they take one of JAX."""
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        return annotation.dtype[jax.Array | np.ndarray, annotation.dim_str]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(_numpy_too, typing.get_args(annotation)))]  # noqa: UP007
    return annotation
