"""Looks of characters as arrays: the factors of `cast.Character` as lengths and colours.

Every character has arrays of the same shapes, so all are painted by one program (`characters.py`).
A part that a character lacks has a weight of 0. Lengths are in metres, positions from the centre
of the head, y upwards. a and b are the half width and the half height of the head.
"""

import numpy as np

from sora_jax.worlds.playhouse.cast import (
    BROWS,
    CLOTHS,
    EYE_DISTANCES,
    EYE_SIZES,
    HAIR_HUES,
    HEADS,
    HEIGHTS,
    IRISES,
    Character,
)

# Of an ear: x (in a) and y (in b) of its centre, metres that are added to y, half width, half
# height, tilt outwards in radians, 1 for a triangle or 0 for an ellipse, weight of the ears.
EARS = {
    "none": (0.0, 0.0, 0.0, 0.1, 0.1, 0.0, 0.0, 0.0),
    "cat": (0.66, 0.74, 0.12, 0.15, 0.17, 0.35, 1.0, 1.0),
    "round": (0.80, 0.80, 0.04, 0.145, 0.145, 0.0, 0.0, 1.0),
    "long": (0.42, 1.0, 0.13, 0.088, 0.25, 0.16, 0.0, 1.0),
}
# Of the crown of hair: weight, thickness (m), height of the hairline in the middle (in b), its drop
# at the sides (in b), zigzag of the hairline (m), length of spikes (m). Of the locks behind the
# head: weight, their end below the centre (b plus these metres), half width (a plus these metres).
HAIRS = {
    "bald": (0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "short": (1.0, 0.035, 0.46, 0.62, 0.03, 0.0, 0.0, 0.0, 0.0),
    "bob": (1.0, 0.055, 0.40, 0.95, 0.0, 0.0, 1.0, 0.0, 0.06),
    "long": (1.0, 0.050, 0.50, 1.00, 0.02, 0.0, 1.0, 0.42, 0.04),
    "spiky": (1.0, 0.060, 0.40, 0.45, 0.06, 0.11, 0.0, 0.0, 0.0),
    "bun": (1.0, 0.030, 0.56, 0.70, 0.0, 0.0, 0.0, 0.0, 0.0),
    "cap": (1.0, 0.045, 0.36, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "beanie": (1.0, 0.055, 0.30, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "top hat": (0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
}
# The piece on top: weight, y of its centre (b plus these metres), half width, half height, radius
# of its corners.
TOPS = {
    "bun": (1.0, 0.10, 0.14, 0.13, 0.13),
    "beanie": (1.0, 0.09, 0.085, 0.085, 0.085),
    "top hat": (1.0, 0.09, 0.28, 0.25, 0.03),
}
# The brim: weight, y of its centre (in b), half width (in a), half height (m), shift to the side to
# which the head turns (in a).
BRIMS = {
    "cap": (1.0, 0.36, 0.80, 0.045, 0.34),
    "beanie": (1.0, 0.36, 1.02, 0.060, 0.0),
    "top hat": (1.0, 0.66, 1.06, 0.042, 0.0),
}
NONE = (0.0, 0.0, 0.1, 0.1, 0.05)


def look(character: Character) -> dict[str, np.ndarray]:
    """Returns the arrays from which `characters.paint` draws a character, float32 by name.

    Lengths are in metres, colours RGB in [0, 1].

    Keys:
        head [3]: half width a, half height b and exponent n of the outline |x/a|^n + |y/b|^n = 1.
        skin, iris, hair_colour, cloth [3]: colours.
        face [5]: half height of the eyes, their distance from the middle, slope of the brows, 1
            with freckles, 1 for an animal.
        ears [7], hair [9], top [5], brim [5]: rows of EARS, HAIRS, TOPS and BRIMS, whose comments
            name the columns, with lengths in metres; of ears the two numbers for y are added up.
        height []: height of the character from the ground to the crown.
    """
    a, b, n = HEADS[character.head]
    x, y, beyond, *ears = EARS[character.ears]
    weight, thick, line, drop, zigzag, spikes, locks, end, wide = HAIRS[character.hair]
    top, brim = list(TOPS.get(character.hair, NONE)), list(BRIMS.get(character.hair, NONE))
    arrays = {
        "head": (a, b, n),
        "skin": character.colour,
        "iris": IRISES[character.iris],
        "hair_colour": HAIR_HUES[character.hair_hue],
        "cloth": CLOTHS[character.cloth],
        "face": (
            EYE_SIZES[character.eye_size],
            EYE_DISTANCES[character.eye_distance],
            BROWS[character.brow],
            float(character.freckles),
            float(character.kind == "animal"),
        ),
        "ears": (x * a, y * b + beyond, *ears),
        "hair": (weight, thick, line * b, drop * b, zigzag, spikes, locks, b + end, a + wide),
        "top": (top[0], b + top[1], *top[2:]),
        "brim": (brim[0], brim[1] * b, brim[2] * a, brim[3], brim[4] * a),
        "height": HEIGHTS[character.height],
    }
    return {name: np.array(value, np.float32) for name, value in arrays.items()}
