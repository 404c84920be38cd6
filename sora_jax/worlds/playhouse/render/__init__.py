"""Pictures of scenes, batched, in jax.numpy, on whatever device trains.

There is no second renderer.

`inputs.py` turns takes into arrays and `program.py` arrays into frames; `shapes.py` and `styles.py`
are what it paints with.
"""

from sora_jax.worlds.playhouse.render.inputs import render_inputs
from sora_jax.worlds.playhouse.render.program import render

__all__ = ["render", "render_inputs"]
