"""The cast: characters with a face and a voice, the catalogue of them, and actors in a scene.

A character is a tuple of factors of its looks, each a name in one of the tables below, and a voice.
The catalogue is drawn once from a fixed seed. It holds persons and animals, some of each for
training and some held out. Whether a character is held out depends on a hash of its factors
(`Character.key`). Voices lie on a grid of pitches and vocal tract lengths ("tract"), and no
training voice has the same pitch and tract as a held-out one. Single factors are common to both.

Two characters p and q of a kind differ by at least MIN_DISTANCE in the distance

    d(p, q) = sum over factors of the visible difference of p and q                              (1)

(`Character.features`), so they can be told apart at 64 x 64 pixels. Characters that differ in the
hair style alone have the distance 1. Two voices are distinct for a listener if their pitch differs
by at least APART_HZ or their tract by at least APART_TRACT (`distinct`).

A name such as "mika" is a handle: every clip draws names afresh, and captions write "@mika".
Lengths are in metres, colours RGB in [0, 1].
"""

import dataclasses
import functools
import zlib
from typing import Any

import numpy as np

from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.voice import Voice

# Half width, half height and exponent of the superellipse |x/a|^n + |y/b|^n = 1.
HEADS = {
    "round": (0.43, 0.43, 2.0),
    "oval": (0.39, 0.48, 2.1),
    "broad": (0.50, 0.40, 2.4),
    "square": (0.43, 0.43, 3.6),
    "tall": (0.38, 0.49, 3.0),
}
SKINS = {
    "porcelain": (0.98, 0.87, 0.79),
    "peach": (0.95, 0.76, 0.62),
    "honey": (0.86, 0.66, 0.45),
    "bronze": (0.72, 0.51, 0.36),
    "cocoa": (0.53, 0.36, 0.26),
    "mint": (0.66, 0.86, 0.72),
    "lilac": (0.77, 0.69, 0.90),
    "sky": (0.64, 0.80, 0.92),
}
FURS = {
    "cream": (0.95, 0.89, 0.76),
    "ginger": (0.88, 0.60, 0.32),
    "ash": (0.62, 0.63, 0.66),
    "umber": (0.52, 0.38, 0.28),
    "slate": (0.40, 0.46, 0.56),
    "snow": (0.96, 0.96, 0.98),
}
EYE_SIZES = {"small": 0.085, "medium": 0.105, "large": 0.125}  # half heights
EYE_DISTANCES = {"close": 0.145, "usual": 0.18, "wide": 0.215}  # from the middle of the face
IRISES = {
    "brown": (0.34, 0.20, 0.10),
    "green": (0.16, 0.48, 0.24),
    "blue": (0.14, 0.36, 0.68),
    "violet": (0.44, 0.22, 0.60),
    "coal": (0.08, 0.08, 0.10),
}
BROWS = {"flat": 0.0, "raised": 0.28, "stern": -0.36}  # slope; > 0 for high inner ends
EARS = ("none", "cat", "round", "long")
HAIRS = ("bald", "short", "bob", "long", "spiky", "bun", "cap", "beanie", "top hat")
HAIR_HUES = {
    "black": (0.13, 0.11, 0.13),
    "chestnut": (0.40, 0.23, 0.13),
    "copper": (0.70, 0.36, 0.16),
    "blond": (0.90, 0.76, 0.40),
    "silver": (0.78, 0.79, 0.83),
    "teal": (0.16, 0.50, 0.52),
    "rose": (0.86, 0.48, 0.58),
    "indigo": (0.28, 0.28, 0.58),
}
CLOTHS = {
    "brick": (0.66, 0.30, 0.26),
    "mustard": (0.80, 0.64, 0.26),
    "moss": (0.40, 0.54, 0.32),
    "denim": (0.28, 0.42, 0.62),
    "plum": (0.50, 0.30, 0.50),
    "sand": (0.84, 0.77, 0.64),
    "graphite": (0.26, 0.28, 0.32),
    "coral": (0.92, 0.56, 0.48),
}
HEIGHTS = {"short": 1.70, "middling": 1.82, "tall": 1.94}  # from the ground to the crown
KINDS = ("person", "animal")  # animals have no voice

# The grid of the cast's voices, within and around the range of `voice.VOICES`.
PITCHES = tuple(95.0 + 12.5 * i for i in range(13))  # Hz
TRACTS = (0.88, 0.92, 0.96, 1.00, 1.04, 1.08, 1.12, 1.16, 1.20)
RATES, BREATHS, DARKS = (0.92, 0.98, 1.04), (0.04, 0.07, 0.10), (0.16, 0.24, 0.32)
STRAY = 0.08  # largest difference of a tract from the usual one for its pitch
APART_HZ, APART_TRACT = 25.0, 0.06  # least differences of two distinct voices

COUNTS = {"person": {"train": 512, "held_out": 64}, "animal": {"train": 48, "held_out": 8}}
SEED = 31  # key of the catalogue; another seed is another cast
# Smallest distance (1) of two characters of a kind, in thousandths.
MIN_DISTANCE = {"person": 2_400, "animal": 1_600}

NAMES = (
    *("mika", "rolo", "tari", "juno", "pax", "odo", "lumi", "zeno", "bibi", "kato"),
    *("nia", "fenn", "yuri", "sol", "wren", "dax", "ilo", "moss", "petra", "quin"),
    *("remy", "suki", "toma", "uma", "vito", "xena", "yara", "zuri", "arlo", "bo"),
    *("cleo", "dodo", "ezra", "fia", "gus", "hana", "inga", "jun", "kiki", "lars"),
)

FACTORS = {
    "head": tuple(HEADS),
    "skin": tuple(SKINS),
    "eye_size": tuple(EYE_SIZES),
    "eye_distance": tuple(EYE_DISTANCES),
    "iris": tuple(IRISES),
    "brow": tuple(BROWS),
    "ears": EARS,
    "hair": HAIRS,
    "hair_hue": tuple(HAIR_HUES),
    "freckles": (False, True),
    "cloth": tuple(CLOTHS),
    "height": tuple(HEIGHTS),
}


@dataclasses.dataclass(frozen=True)
class Character:
    """A character: its looks, each a name in a table of this file, and its voice.

    Attributes:
        head: shape of the head, a name in HEADS.
        skin: colour of the skin, in SKINS, or of the fur of an animal, in FURS.
        eye_size: size of the eyes, in EYE_SIZES.
        eye_distance: distance between the eyes, in EYE_DISTANCES.
        iris: colour of the iris, in IRISES.
        brow: slope of the eyebrows, in BROWS.
        ears: shape of the ears, in EARS; never "none" for an animal.
        hair: style of hair or a hat, in HAIRS.
        hair_hue: colour of hair or hat, in HAIR_HUES.
        freckles: True if it has freckles.
        cloth: colour of the clothes, in CLOTHS.
        height: in HEIGHTS.
        voice: its voice; None for an animal, which does not speak.
        kind: "person" or "animal". Default: "person".
    """

    head: str
    skin: str
    eye_size: str
    eye_distance: str
    iris: str
    brow: str
    ears: str
    hair: str
    hair_hue: str
    freckles: bool
    cloth: str
    height: str
    voice: Voice | None
    kind: str = "person"

    def key(self) -> str:
        """Returns kind and looks, without the voice, as one string. Its hash decides whether the
        character is held out.
        """
        return " ".join([self.kind, *(f"{name}={getattr(self, name)}" for name in FACTORS)])

    @property
    def held_out(self) -> bool:
        """True if the character is held out from training: one in nine, by a hash of `key()`."""
        return zlib.crc32(self.key().encode()) % 9 == 0

    @property
    def colour(self) -> tuple[float, float, float]:
        """The colour of skin or fur, RGB in [0, 1]."""
        return SKINS.get(self.skin) or FURS[self.skin]

    def features(self) -> np.ndarray:
        """Returns the looks, without the voice, as numbers: int64 [36], in thousandths.

        They are colours, one-hot styles and sizes, each weighted by how visible it is. The L1
        distance between the features of two characters is their visible difference, equation (1)
        of this module, in thousandths.
        """
        a, b, n = HEADS[self.head]
        hair = 0.0 if self.hair == "bald" else 1.0
        hue = [hair * (1.0 + part) for part in HAIR_HUES[self.hair_hue]]
        values = [
            *(1.5 * part for part in self.colour),
            *(0.9 * part for part in hue),
            *(0.7 * part for part in CLOTHS[self.cloth]),
            *(0.5 * (name == self.hair) for name in HAIRS),
            *(0.45 * (name == self.ears) for name in EARS),
            *(0.2 * (name == self.iris) for name in IRISES),
            *(6.0 * a, 6.0 * b, 0.25 * n),
            8.0 * EYE_SIZES[self.eye_size],
            6.0 * EYE_DISTANCES[self.eye_distance],
            0.3 * BROWS[self.brow],
            0.3 * self.freckles,
            1.0 * HEIGHTS[self.height],
            2.0 * (self.kind == "animal"),
        ]
        return np.array([round(1000.0 * part) for part in values], np.int64)

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "Character":
        """Returns the character of `fields`, the result of `to_dict`."""
        voice = fields["voice"] and Voice(**fields["voice"])
        values: dict[str, Any] = {**fields, "voice": voice}
        return cls(**values)


def voice_of(character: Character) -> Voice:
    """Returns the voice of a character that speaks.

    Raises:
        ValueError: it is an animal, which has no voice.
    """
    if character.voice is None:
        raise ValueError("an animal has no voice; give a person")
    return character.voice


def distance(p: Character, q: Character) -> float:
    """Returns the visible difference of two characters, equation (1): 1 if they differ in the style
    of hair alone.
    """
    return float(np.abs(p.features() - q.features()).sum()) / 1000.0


def distinct(a: Voice, b: Voice) -> bool:
    """Returns whether a listener can tell two voices apart, by APART_HZ or APART_TRACT."""
    apart = abs(a.pitch - b.pitch) >= APART_HZ
    return apart or abs(a.tract - b.tract) >= APART_TRACT - 1e-9


def held_out_cell(pitch: int, tract: int) -> bool:
    """Returns whether voices with a pitch and a tract are held out from training: 1 pair in 7.

    `pitch` is an index in PITCHES, `tract` one in TRACTS.
    """
    return (2 * pitch + 3 * tract) % 7 == 0


@functools.cache
def catalogue(part: str = "train", kind: str = "person") -> tuple[Character, ...]:
    """Returns the characters of a part of the catalogue, the same on any machine.

    Args:
        part: "train", or "held_out" for those that no training split shows. Default: "train".
        kind: "person" (default) or another name in KINDS.
    """
    return _catalogue(kind)[part]


@functools.cache
def _catalogue(kind: str) -> dict[str, tuple[Character, ...]]:
    stream, counts = Stream(SEED, KINDS.index(kind)), COUNTS[kind]
    found: dict[str, list[Character]] = {part: [] for part in counts}
    features = np.zeros((0, 0), np.int64)
    voices: set[Voice] = set()
    while any(len(found[part]) < count for part, count in counts.items()):
        drawn = _draw_character(stream, kind)
        part = "held_out" if drawn.held_out else "train"
        if len(found[part]) == counts[part]:
            continue
        vector = drawn.features()
        if len(features) and np.abs(features - vector).sum(1).min() < MIN_DISTANCE[kind]:
            continue
        if kind == "person":
            voice = _draw_voice(stream, drawn.held_out, voices)
            drawn = dataclasses.replace(drawn, voice=voice)
            voices.add(voice)
        features = np.concatenate([features.reshape(-1, len(vector)), vector[None]])
        found[part].append(drawn)
    return {part: tuple(characters) for part, characters in found.items()}


def _draw_character(stream: Stream, kind: str) -> Character:
    """Draws a character without a voice. Animals have fur, ears and no hair."""
    tables = dict(FACTORS)
    if kind == "animal":
        tables |= {"skin": tuple(FURS), "ears": EARS[1:], "hair": ("bald",)}
    drawn = {name: stream.choice(options) for name, options in tables.items()}
    return Character(**drawn, voice=None, kind=kind)


def _draw_voice(stream: Stream, held_out: bool, taken: set[Voice]) -> Voice:
    """Draws a voice that is not in `taken`, from the held-out ones if `held_out`.

    Short tracts go with high pitches: the tract differs from the usual one by at most STRAY.
    """
    while True:
        pitch, tract = stream.integer(len(PITCHES)), stream.integer(len(TRACTS))
        usual = TRACTS[0] + (TRACTS[-1] - TRACTS[0]) * pitch / (len(PITCHES) - 1)
        if held_out_cell(pitch, tract) != held_out or abs(TRACTS[tract] - usual) > STRAY:
            continue
        timbre = (stream.choice(options) for options in (RATES, BREATHS, DARKS))
        voice = Voice(PITCHES[pitch], TRACTS[tract], *timbre)
        if voice not in taken:
            return voice


@dataclasses.dataclass(frozen=True)
class Actor:
    """A character at a place of a scene, with all that it does.

    Knots are (time in s, values); values are linear between knots and constant outside of them.

    Attributes:
        character: who it is.
        name: its handle in captions, without "@".
        x, y: where it stands, in metres: the middle of its feet.
        speech: its words, (start in s, word) in order. Default: ().
        turn: knots (time, angle) of the head in radians; > 0 turns to the right of the frame.
            Default: (), straight ahead.
        look: knots (time, right, up) of the eyes, each in [-1, 1]. Default: (), straight ahead.
        blinks: times in s at which the eyes are closed. Default: ().
        bob: period in s and phase in turns of the idle up and down of the head. Default: (0, 0),
            a head that does not bob.
        path: knots (time, dx, dy) of walking, in metres. Default: (), it stands.
        hands: knots (time, x, y of the left hand, x, y of the right hand), in metres from (x, y);
            left is the left of the frame. Default: (), the arms hang.
    """

    character: Character
    name: str
    x: float
    y: float = 0.0
    speech: tuple[tuple[float, str], ...] = ()
    turn: tuple[tuple[float, float], ...] = ()
    look: tuple[tuple[float, float, float], ...] = ()
    blinks: tuple[float, ...] = ()
    bob: tuple[float, float] = (0.0, 0.0)
    path: tuple[tuple[float, float, float], ...] = ()
    hands: tuple[tuple[float, float, float, float, float], ...] = ()

    def to_dict(self) -> dict:
        """Returns the fields as JSON values, without those at their defaults."""
        fields = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        }
        return fields | {"character": self.character.to_dict()}

    @classmethod
    def from_dict(cls, fields: dict) -> "Actor":
        """Returns the actor of `fields`, the result of `to_dict`. Lists become tuples."""

        def convert(value: Any) -> Any:
            return tuple(convert(v) for v in value) if isinstance(value, list) else value

        known: dict[str, Any] = {
            name: convert(value) for name, value in fields.items() if name != "character"
        }
        return cls(Character.from_dict(fields["character"]), **known)
