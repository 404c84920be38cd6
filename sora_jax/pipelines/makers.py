"""Chooses the function that makes the clip of a request window by window, outside a batch."""

from collections.abc import Callable
from typing import NamedTuple

from sora_jax.modality import ClipFormat
from sora_jax.pipelines import bridges, synthesis
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.request import Request


class Maker(NamedTuple):
    """The functions for requests whose clips are made window by window.

    Attributes:
        make: function of (pipeline, request, on_step) that returns the clip, and calls on_step
            with (steps done, steps) after every step of the sampler.
        windows: function of (request, format) that returns the number of runs of the sampler.
        added: function of (request, format) that returns the number of video latents by which the
            given clips grow; 0 for a film.
    """

    make: Callable[..., Generated]
    windows: Callable[[Request, ClipFormat], int]
    added: Callable[[Request, ClipFormat], int]


def maker_of(request: Request, format: ClipFormat) -> Maker | None:
    """Returns the functions for a request; None for one of a single window, made in a batch."""
    if request.continued is not None:
        return Maker(synthesis.extended, synthesis.window_count, synthesis.added_latents)
    for name, make in (("between", bridges.joined), ("preceded", bridges.preceded)):
        if getattr(request, name) is not None:
            return Maker(make, bridges.window_count, bridges.added_latents)
    if request.loop:
        return Maker(bridges.looped, bridges.window_count, bridges.added_latents)
    if synthesis.is_film(request, format):
        return Maker(synthesis.filmed, synthesis.window_count, synthesis.added_latents)
    return None
