"""The renderer: batches of scenes to frames, in jax.numpy, on the device that trains.

`inputs.py` turns takes (scenes with their motion) into arrays on the host, and `program.py` turns
the arrays into frames. Stories (clips with cuts) have modules of their own for both steps,
`story_inputs.py` and `story_program.py`. `shapes.py`, `styles.py` and `characters.py` contain the
painting functions.
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
    """Returns the arrays from which `render` draws B takes, by name, with a leading axis B.

    They are those of `inputs.render_inputs`, or of `story_inputs.story_inputs` for stories. Takes
    of stories and of other families cannot be in one batch.

    Args:
        takes: the B takes.
        format: the clip format.
        alone: True for arrays with space for one ball only, if each take has exactly one; unused by
            stories. Default: False, space for as many balls as the family may have.

    Raises:
        UserError: a take of a story has other shots than the format.
    """
    if any(take.scene.plot for take in takes):
        return story_inputs.story_inputs(takes, format)
    return _inputs.render_inputs(takes, format, alone)


def render(inputs: Mapping[str, AnyArray], format: ClipFormat) -> jax.Array:
    """Returns rendered frames, float32 [B, F, H, W, 3] in [0, 1].

    Args:
        inputs: the arrays of `render_inputs`.
        format: the clip format.
    """
    if "boxes" in inputs:
        return story_program.render_story(inputs, format)
    return program.render(inputs, format)
