"""Looks of characters as arrays: the factors of `cast.Character` as lengths and colours.

Every character has the same parts, so all are painted by one program (`characters.py`). A part
that a character lacks has a weight of 0. Lengths are in metres from the centre of the head, y
upwards.
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

# Centre x (in a) and y (in b) on the head, y in metres beyond that, half width, half height, tilt
# outwards in radians, weight of a triangle instead of an ellipse, weight of the ears.
EARS = {
    "none": (0.0, 0.0, 0.0, 0.1, 0.1, 0.0, 0.0, 0.0),
    "cat": (0.66, 0.74, 0.12, 0.15, 0.17, 0.35, 1.0, 1.0),
    "round": (0.80, 0.80, 0.04, 0.145, 0.145, 0.0, 0.0, 1.0),
    "long": (0.42, 1.0, 0.13, 0.088, 0.25, 0.16, 0.0, 1.0),
}
# Of the crown of hair: weight, thickness (m), middle of the hairline (in b), its drop at the sides
# (in b), zigzag of the hairline (m), spikes (m). Of the locks behind the head: weight, their end
# below the centre (m beyond b), half width beyond a (m).
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
# The piece on top: weight, y of its centre beyond b (m), half width, half height, corner radius.
TOPS = {
    "bun": (1.0, 0.10, 0.14, 0.13, 0.13),
    "beanie": (1.0, 0.09, 0.085, 0.085, 0.085),
    "top hat": (1.0, 0.09, 0.28, 0.25, 0.03),
}
# The brim: weight, y of its centre (in b), half width (in a), half height (m), shift (in a).
BRIMS = {
    "cap": (1.0, 0.36, 0.80, 0.045, 0.34),
    "beanie": (1.0, 0.36, 1.02, 0.060, 0.0),
    "top hat": (1.0, 0.66, 1.06, 0.042, 0.0),
}
NONE = (0.0, 0.0, 0.1, 0.1, 0.05)


def look(character: Character) -> dict[str, np.ndarray]:
    """Returns what `characters.paint` needs to draw a character, float32 arrays by name.

    Lengths are in metres, colours RGB in [0, 1].

    Keys:
        head [3]: half width a, half height b and exponent n of the outline |x/a|^n + |y/b|^n = 1.
        skin, iris, hair_colour, cloth [3]: colours.
        face [5]: half height of the eyes, their distance from the middle, slope of the brows, 1
            with freckles, 1 for an animal.
        ears [7], hair [9], top [5], brim [5]: rows of EARS, HAIRS, TOPS and BRIMS, whose comments
            name the columns.
        height []: from the ground to the crown.
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
