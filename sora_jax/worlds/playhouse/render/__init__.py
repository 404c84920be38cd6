"""The renderer: batches of scenes to frames, in jax.numpy, on the device that trains.

It is the only renderer. `inputs.py` turns takes into arrays, and `program.py` turns the arrays
into frames; stories have programs of their own, `story_inputs.py` and `story_program.py`.
`shapes.py` and `styles.py` contain the painting functions.
"""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from sora_jax.modality import ClipFormat
from sora_jax.typing import AnyArray
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.render import inputs as _inputs
from sora_jax.worlds.playhouse.render import program, story_inputs, story_program

__all__ = ["render", "render_inputs"]


def render_inputs(
    takes: Sequence[Take], format: ClipFormat, alone: bool = False
) -> dict[str, np.ndarray]:
    """Computes the arrays that the renderer needs for B takes: `inputs.render_inputs`, or
    `story_inputs.story_inputs` if they are stories.
    """
    if any(take.scene.plot for take in takes):
        return story_inputs.story_inputs(takes, format)
    return _inputs.render_inputs(takes, format, alone)


def render(inputs: Mapping[str, AnyArray], format: ClipFormat) -> jax.Array:
    """Renders frames, float32 [B, F, H, W, 3] in [0, 1], from `render_inputs`."""
    if "boxes" in inputs:
        return story_program.render_story(inputs, format)
    return program.render(inputs, format)
