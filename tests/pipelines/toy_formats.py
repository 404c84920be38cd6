"""The formats that the tiny model of `conftest.py` knows."""

from sora_jax.modality import ClipFormat

FORM = ClipFormat(frames=17, fps=8, height=16, width=16)
STORY = ClipFormat(frames=14, fps=8, height=16, width=16, shots=(9, 5))
WIDE = ClipFormat(frames=13, fps=12, height=12, width=20)  # in whole latents 16 x 24
