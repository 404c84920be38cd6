"""Selects one of the formats that a model was trained on."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from sora_jax.errors import UserError
from sora_jax.modality import RATE_SLACK, ClipFormat


def select(
    formats: Sequence[ClipFormat],
    height: int = 0,
    width: int = 0,
    fps: float = 0.0,
    seconds: float = 0.0,
    shots: int = 0,
) -> ClipFormat:
    """Returns the first of `formats` with given sides, rate, duration and number of shots.

    Args:
        formats: those that a model was trained on, the default first.
        height: in pixels. Default 0: any.
        width: in pixels. Default 0: any.
        fps: frames per second. Default 0: any.
        seconds: duration, rounded to the nearest with whole latents; selects among formats of one
            shot. Default 0: any.
        shots: number of shots. Default 0: any.

    Raises:
        UserError: no format has them (the message lists the formats), or a value is out of range.
    """
    for format in formats:
        if (seconds and format.shots) or shots not in (0, max(1, len(format.shots))):
            continue
        try:
            asked = format.changed(height, width, fps, seconds)
        except ValueError as error:
            raise UserError(str(error)) from None
        if asked == format:
            return format
    known = "; ".join(map(str, formats))
    longest = max(format.seconds for format in formats)
    remedy = "extend a clip (continued), " if seconds > longest else ""
    raise UserError(
        f"this model makes {known}; ask for one of these, {remedy}or train on another format"
    )


def same_rate(rate: float, fps: Fraction | int) -> bool:
    """True if two frame rates differ by at most RATE_SLACK."""
    return bool(abs(rate - fps) <= RATE_SLACK * fps)


def like(
    formats: Iterable[ClipFormat], sides: tuple[int, int], rate: float, asked: Mapping[str, Any]
) -> ClipFormat | None:
    """Returns the one of `formats` with the sides and the rate of a clip; None if there is none.

    Of several, one of a single shot comes first, then the one with the nearest rate.

    Args:
        formats: those that a model was trained on, the preferred one first.
        sides: (height, width) of the clip in pixels.
        rate: frames per second of the clip.
        asked: arguments of `select` by name, which replace the clip's sides or rate; {} for none.
    """
    asked = {name: value for name, value in asked.items() if value}

    def fits(format: ClipFormat) -> bool:
        try:
            select([format], **asked)
        except UserError:
            return False
        if not {"height", "width"} & asked.keys() and sides != (format.height, format.width):
            return False
        return "fps" in asked or same_rate(rate, format.fps)

    fitting = sorted(filter(fits, formats), key=lambda one: (bool(one.shots), abs(rate - one.fps)))
    return fitting[0] if fitting else None
