"""The places of stories (clips with cuts): five rooms with their own colours, wallpaper, furniture.

Every place has a floor at y = 0, walls at x = 0 and x = EXTENT, a door, a lamp that hangs from
the ceiling, and a score board of SCORE lamps. Positions are in metres, colours RGB in [0, 1].
All surfaces are pale or grey, so that the ball stands out. Furniture is made of upright
rectangles (`Box`) and discs (`Disc`) in front of them.
"""

import dataclasses

EXTENT = 4.0  # metres between the walls
SCORE = 4  # lamps of the score board
DOOR_HEIGHT, DOOR_HALF = 1.95, 0.40  # metres: height and half the width of a door
LAMP_HEIGHT = 2.62  # metres: height of the bulb
BOARD_HEIGHT = 3.02  # metres: height of the middle of the score board
BOARD_STEP = 0.36  # metres between two lamps of the score board

INK, IRON, WOOD = (0.16, 0.16, 0.18), (0.30, 0.31, 0.34), (0.55, 0.47, 0.40)
CREAM, STONE = (0.93, 0.91, 0.86), (0.55, 0.55, 0.54)
LEAVES = (0.36, 0.47, 0.38)
DARK = (0.10, 0.10, 0.12)  # behind an open door
BULB, LIT, UNLIT = (1.00, 0.96, 0.72), (1.00, 1.00, 0.92), (0.30, 0.31, 0.34)


@dataclasses.dataclass(frozen=True)
class Box:
    """An upright rectangle of furniture.

    Attributes:
        left, right, bottom, top: edges in metres.
        colour: RGB in [0, 1].
    """

    left: float
    right: float
    bottom: float
    top: float
    colour: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Disc:
    """A disc of furniture.

    Attributes:
        x, y: its middle in metres.
        radius: in metres.
        colour: RGB in [0, 1].
    """

    x: float
    y: float
    radius: float
    colour: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Place:
    """A room of a story. Lengths are in metres, colours RGB in [0, 1].

    Attributes:
        wall, floor: their colours.
        paper: pattern of the wallpaper, (period in x, period in y, strength in [0, 1]). A period of
            0 means that the pattern does not vary along that axis.
        door: x of the middle of the door.
        leaf: colour of the door.
        lamp: x of the lamp.
        boxes, discs: furniture, painted in this order, the discs last. Default of discs: ().
    """

    wall: tuple[float, float, float]
    floor: tuple[float, float, float]
    paper: tuple[float, float, float]
    door: float
    leaf: tuple[float, float, float]
    lamp: float
    boxes: tuple[Box, ...]
    discs: tuple[Disc, ...] = ()

    @property
    def inside(self) -> float:
        """The direction in x from the door into the room: 1 or -1."""
        return 1.0 if self.door < 0.5 * EXTENT else -1.0


# one for each of `storyboard.PLACES`
ROOMS = (
    Place(  # a window and a table
        wall=(0.76, 0.85, 0.94),
        floor=(0.60, 0.58, 0.56),
        paper=(0.0, 0.0, 0.0),
        door=0.45,
        leaf=(0.50, 0.42, 0.35),
        lamp=2.0,
        boxes=(
            Box(2.75, 3.65, 1.25, 2.30, CREAM),
            Box(2.83, 3.16, 1.33, 2.22, (0.58, 0.72, 0.86)),
            Box(3.24, 3.57, 1.33, 2.22, (0.58, 0.72, 0.86)),
            Box(2.65, 3.85, 0.66, 0.80, WOOD),
            Box(2.75, 2.85, 0.0, 0.66, WOOD),
            Box(3.65, 3.75, 0.0, 0.66, WOOD),
        ),
    ),
    Place(  # a bookcase
        wall=(0.94, 0.88, 0.74),
        floor=(0.52, 0.46, 0.40),
        paper=(0.5, 0.0, 0.16),
        door=3.55,
        leaf=(0.42, 0.48, 0.50),
        lamp=2.0,
        boxes=(
            Box(0.15, 1.05, 0.0, 2.30, (0.42, 0.35, 0.30)),
            Box(0.23, 0.97, 0.12, 0.72, CREAM),
            Box(0.23, 0.97, 0.84, 1.44, (0.72, 0.70, 0.66)),
            Box(0.23, 0.97, 1.56, 2.18, CREAM),
            Box(0.38, 0.50, 0.84, 1.40, INK),
            Box(0.62, 0.72, 1.56, 2.06, STONE),
        ),
    ),
    Place(  # a tree in a pot, and a round window
        wall=(0.78, 0.90, 0.78),
        floor=(0.66, 0.65, 0.58),
        paper=(0.0, 0.45, 0.12),
        door=0.45,
        leaf=(0.86, 0.85, 0.80),
        lamp=2.3,
        boxes=(
            Box(3.28, 3.40, 0.40, 1.30, WOOD),
            Box(3.06, 3.62, 0.0, 0.46, STONE),
        ),
        discs=(
            Disc(1.62, 2.0, 0.38, CREAM),
            Disc(1.62, 2.0, 0.29, (0.50, 0.58, 0.64)),
            Disc(3.14, 1.45, 0.34, LEAVES),
            Disc(3.54, 1.52, 0.36, LEAVES),
            Disc(3.32, 1.85, 0.38, LEAVES),
        ),
    ),
    Place(  # a fireplace
        wall=(0.94, 0.82, 0.84),
        floor=(0.44, 0.40, 0.42),
        paper=(0.7, 0.7, 0.12),
        door=3.55,
        leaf=(0.62, 0.55, 0.48),
        lamp=2.0,
        boxes=(
            Box(0.20, 1.50, 0.0, 1.30, STONE),
            Box(0.10, 1.60, 1.22, 1.38, CREAM),
            Box(0.48, 1.22, 0.0, 0.90, DARK),
            Box(0.55, 1.15, 0.05, 0.17, (0.42, 0.33, 0.27)),
            Box(0.45, 1.25, 1.58, 2.30, WOOD),
            Box(0.53, 1.17, 1.66, 2.22, (0.74, 0.78, 0.80)),
        ),
    ),
    Place(  # pipes and barrels
        wall=(0.60, 0.62, 0.68),
        floor=(0.34, 0.34, 0.37),
        paper=(0.66, 0.33, 0.14),
        door=0.45,
        leaf=(0.74, 0.74, 0.72),
        lamp=1.7,
        boxes=(
            Box(3.62, 3.78, 0.0, 3.6, (0.44, 0.45, 0.50)),
            Box(1.1, 3.75, 2.28, 2.42, (0.44, 0.45, 0.50)),
            Box(2.46, 3.04, 0.0, 0.80, (0.50, 0.44, 0.40)),
            Box(3.08, 3.58, 0.0, 0.68, (0.46, 0.46, 0.44)),
            Box(2.44, 3.06, 0.34, 0.42, IRON),
        ),
    ),
)
MAX_BOXES = max(len(room.boxes) for room in ROOMS)
MAX_DISCS = max(len(room.discs) for room in ROOMS)
