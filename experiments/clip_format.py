"""Flags of the format of clips, shared by the commands that make data sets.

They are defined here once; a command adopts them as its own (`flags.adopt_module_key_flags`).
"""

from absl import flags

from sora_jax.errors import UserError
from sora_jax.modality import FITS, FORMATS, ClipFormat

FORMAT = flags.DEFINE_enum(
    "format",
    "nano",
    sorted(FORMATS),
    "Clip format, which the next four flags change. "
    + "; ".join(f"{name}: {format}" for name, format in FORMATS.items()),
)
HEIGHT = flags.DEFINE_integer(
    "height", 0, "Height of a frame in pixels, even. Default: that of --format."
)
WIDTH = flags.DEFINE_integer(
    "width", 0, "Width of a frame in pixels, even. Default: that of --format."
)
FPS = flags.DEFINE_float(
    "fps", 0.0, "Frames per second; 29.97 is 30000/1001. Default: those of --format."
)
SECONDS = flags.DEFINE_float(
    "seconds",
    0.0,
    "Duration of a clip; the nearest with whole latents is used. Default: that of --format.",
)
FIT = flags.DEFINE_enum(
    "fit",
    FITS[0],
    FITS,
    "How videos of other proportions are fitted: cropped around their centre, or letterboxed, "
    "whole between black bars.",
)


def clip_format() -> ClipFormat:
    """Returns the clip format that the flags select. Raises UserError if the flags allow none."""
    try:
        return FORMATS[FORMAT.value].changed(HEIGHT.value, WIDTH.value, FPS.value, SECONDS.value)
    except ValueError as error:
        raise UserError(f"--format={FORMAT.value} changed: {error}") from None


def changed() -> bool:
    """Returns whether any of --height, --width, --fps, --seconds and --fit is not its default."""
    return FIT.value != FITS[0] or any(flag.value for flag in (HEIGHT, WIDTH, FPS, SECONDS))
