"""Selects one of the formats that a model was trained on."""

from collections.abc import Sequence

from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat


def select(
    formats: Sequence[ClipFormat],
    height: int = 0,
    width: int = 0,
    fps: float = 0.0,
    seconds: float = 0.0,
) -> ClipFormat:
    """Returns the first of `formats` with given sides, rate and duration.

    Args:
        formats: those that a model was trained on; the first is the default.
        height: in pixels. Default 0: any.
        width: in pixels. Default 0: any.
        fps: frames per second. Default 0: any.
        seconds: duration, to the nearest with whole latents. Default 0: any.

    Raises:
        UserError: no format has them, or a value cannot be; the message lists the formats.
    """
    for format in formats:
        if seconds and format.shots:
            continue
        try:
            asked = format.changed(height, width, fps, seconds)
        except ValueError as error:
            raise UserError(str(error)) from None
        if asked == format:
            return format
    known = "; ".join(map(str, formats))
    raise UserError(f"this model makes {known}; ask for one of these, or train on another format")
