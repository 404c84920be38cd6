"""The renderer: batches of scenes to frames, in jax.numpy, on the device that trains.

It is the only renderer. `inputs.py` turns takes into arrays, and `program.py` turns the arrays into
frames. `shapes.py` and `styles.py` contain the painting functions.
"""

from sora_jax.worlds.playhouse.render.inputs import render_inputs
from sora_jax.worlds.playhouse.render.program import render

__all__ = ["render", "render_inputs"]
