"""Inputs of the renderer of stories (clips with cuts): takes as arrays with a leading axis B.

Everything except the actors, the ball and the wallpaper is a `Box` or a `Disc` of `places.py`.
The host computes those of every frame in pixels. A box is an array of 8 numbers (left, right,
upper, lower edge, RGB, alpha), a disc one of 7 (column, row, radius, RGB, alpha). Their counts are
the same in all places, so the inputs of any two takes with as many frames can be stacked.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse import acting
from sora_jax.worlds.playhouse.camera import project, views
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.places import (
    BOARD_HEIGHT,
    BOARD_STEP,
    BULB,
    DARK,
    DOOR_HALF,
    DOOR_HEIGHT,
    EXTENT,
    INK,
    IRON,
    LAMP_HEIGHT,
    LIT,
    MAX_BOXES,
    MAX_DISCS,
    ROOMS,
    SCORE,
    UNLIT,
    Box,
    Disc,
    Place,
)
from sora_jax.worlds.playhouse.plot import OPENING, SWITCHING
from sora_jax.worlds.playhouse.render.inputs import POSE, SHUTTER, TEXTURE
from sora_jax.worlds.playhouse.render.looks import look
from sora_jax.worlds.playhouse.render.pixels import columns_before
from sora_jax.worlds.playhouse.spec import COLOURS, FILM_STYLES, material
from sora_jax.worlds.playhouse.stream import Stream

ACTORS = 2  # slots for actors, and canvases (parts of the frame on which actors are painted)
FAR_AWAY = -1e3  # pixels: the position of a ball that is not shown
_NO_BOX = Box(-9.0, -9.0, -9.0, -9.0, INK)
_NO_DISC = Disc(-9.0, -9.0, 0.0, INK)


def story_inputs(takes: Sequence[Take], format: ClipFormat) -> dict[str, np.ndarray]:
    """Returns the arrays from which `render_story` draws B takes, by name, with a leading axis B.

    Args:
        takes: the B takes.
        format: the clip format.

    Raises:
        UserError: a take has no plot (shots and state of a story), or other shots than the format.
    """
    clips = [_inputs(take, format) for take in takes]
    return {name: np.stack([one[name] for one in clips]) for name in clips[0]}


def check_shots(take: Take, format: ClipFormat) -> None:
    """Checks that the take of a story has the shots of a clip format, with the same starts.

    Raises:
        UserError: it has others, or the take has no plot.
    """
    plot, starts = take.scene.plot, format.shot_starts()
    if plot is None or [round(v.start * format.fps) for v in plot.views] != [
        round(start * format.fps) for start in starts
    ]:
        shots = len(plot.views) if plot else 0
        own = "nano" if shots == 1 else f"story{shots}"
        raise UserError(
            f"{take.family}/{take.split}/{take.index} has {shots} shots, and the format has "
            f"{len(starts)}, or they start at other times; choose {own if plot else 'a story'}",
            field="format",
        )


def _inputs(take: Take, format: ClipFormat) -> dict[str, np.ndarray]:
    check_shots(take, format)
    scene, plot = take.scene, take.scene.plot
    assert plot is not None  # checked
    times = format.frame_times()
    view, truth = views(scene, times), plot.truth(times)
    rooms = truth["place"]
    light = plot.gradual("lamp", times, SWITCHING)[np.arange(len(times)), rooms]
    door = plot.gradual("door", times, OPENING)[np.arange(len(times)), rooms]
    boxes, discs, glow = furniture(rooms, light, door, truth["score"][:, 0])
    stream = Stream(scene.seed, TEXTURE)
    places = [ROOMS[room] for room in rooms]
    inputs = {
        "boxes": _boxes_to_pixels(boxes, view, format.size),
        "discs": _discs_to_pixels(discs, view, format.size),
        "glow": _discs_to_pixels(glow, view, format.size),
        "view": view,
        "wall": np.array([room.wall for room in places]),
        "floor": np.array([room.floor for room in places]),
        "paper": np.array([room.paper for room in places]),
        "lamp": np.array([room.lamp for room in places]),
        "light": light,
        "texture": np.array([stream.uniform() for _ in range(4)]),
        **_ball(take, truth, view, format),
        **_cast(take, truth, view, format),
    }
    arrays: dict[str, np.ndarray] = {
        name: np.asarray(value, np.float32) for name, value in inputs.items()
    }
    arrays["style"] = np.array(FILM_STYLES.index(scene.style), np.int32)
    arrays["seed"] = np.array(scene.seed, np.uint32)
    return arrays


def _ball(
    take: Take, truth: dict[str, np.ndarray], view: np.ndarray, format: ClipFormat
) -> dict[str, np.ndarray]:
    """Returns the arrays of the ball.

    They are `ball` [F, M, 2], its centres in pixels at the M sample times of an exposure,
    `ball_radius` [F] in pixels, `colour` [3] and `shine`, its gloss. `truth` is the state of the
    story in every frame (`Plot.truth`), `view` the camera's view [F, 3] in metres.
    """
    times, scene = format.frame_times(), take.scene
    frames = len(times)
    centres = np.full((frames, len(SHUTTER), 2), FAR_AWAY)
    radius, colour, shine = np.zeros(frames), np.zeros(3), np.zeros(())
    if scene.balls:
        ball = scene.balls[0]
        blurred = scene.style == "cinematic"
        for m, offset in enumerate(SHUTTER):
            moments = times + offset / float(format.fps) if blurred else times
            centres[:, m] = project(view, take.trajectory.positions(moments)[:, 0], format.size)
        centres[truth["ball"][:, 0] != truth["place"]] = FAR_AWAY
        radius = ball.radius * format.size / view[:, 2]
        colour, shine = np.array(COLOURS[ball.colour]), np.array(material(ball.material).shine)
    return {"ball": centres, "ball_radius": radius, "colour": colour, "shine": shine}


def _cast(
    take: Take, truth: dict[str, np.ndarray], view: np.ndarray, format: ClipFormat
) -> dict[str, np.ndarray]:
    """Returns the arrays of the actors and of the canvases on which they are painted.

    A frame has two canvases, as high as the frame and half as wide as its central square. In a
    close-up they are the halves of the square, and the subject is on both. In other shots each
    holds one actor. `canvas` [F, 2, 3] has for each canvas the index of the actor, the first
    column, and 1 if it is used. The other arrays are `cast_NAME` [2, ...] for each array NAME of
    `looks.look`, `pose` [F, 2, 14] for `characters.paint`, and `hat` [F, 2], 1 for an actor that
    has put on a hat. `truth` and `view` are those of `_ball`.
    """
    times, scene, half = format.frame_times(), take.scene, format.size // 2
    beside = columns_before(format)
    frames, shot = len(times), truth["shot"]
    poses = np.zeros((frames, ACTORS, POSE))
    canvas = np.zeros((frames, ACTORS, 3))
    assert scene.plot is not None, "a story has a plot"
    subject = np.array([v.subject for v in scene.plot.views])[shot]
    for n, actor in enumerate(scene.cast):
        pose = acting.pose(actor, times)
        ground = project(view, pose.pop("ground"), format.size)
        parts = [ground, *(part.reshape(frames, -1) for part in pose.values())]
        poses[:, n] = np.concatenate(parts, axis=1)
        first = np.clip(np.round(ground[:, 0]) - half // 2, -half - beside, format.size + beside)
        visible = (truth["room"][:, n] == truth["place"]) & (subject < 0)
        canvas[:, n] = np.stack([np.full(frames, n), first, visible], axis=-1)
    close = subject >= 0
    for side in range(ACTORS):
        canvas[close, side] = np.stack(
            [subject[close], np.full(close.sum(), side * half), np.ones(close.sum())], axis=-1
        )
    looks = [look(actor.character) for actor in scene.cast]
    looks += looks[:1] * (ACTORS - len(looks))
    arrays = {f"cast_{name}": np.stack([one[name] for one in looks]) for name in looks[0]}
    hat = np.zeros((frames, ACTORS))
    hat[:, : len(scene.cast)] = truth["hat"]
    return arrays | {"pose": poses, "canvas": canvas, "hat": hat}


def furniture(
    rooms: np.ndarray, light: np.ndarray, door: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the furniture of the place in every frame, in metres.

    Args:
        rooms: index of the place, [F].
        light, door: state of the lamp and of the door of that place, [F]; 0 is off, or closed, 1
            is on, or open.
        score: number of lit lamps of the score board, [F].

    Returns:
        Boxes [F, N, 8], discs [F, N, 7], and discs that shine by themselves [F, 1 + SCORE, 7].
    """
    boxes = np.zeros((len(rooms), _BOXES, 8))
    discs, glow = np.zeros((len(rooms), _DISCS, 7)), np.zeros((len(rooms), 1 + SCORE, 7))
    for number in set(rooms.tolist()):
        room, at = ROOMS[number], rooms == number
        still = [_box(box) for box in _still_boxes(room)]
        boxes[at, : len(still)] = still
        boxes[at, len(still) :] = _door(room, door[at])
        round_ = [_disc(disc) for disc in _still_discs(room)]
        discs[at, : len(round_)] = round_
        discs[at, len(round_) :] = _knob(room, door[at])
        glow[at] = _glow(room, light[at], score[at])
    return boxes, discs, glow


def _box(box: Box) -> tuple[float, ...]:
    return box.left, box.right, box.top, box.bottom, *box.colour, 1.0


def _disc(disc: Disc) -> tuple[float, ...]:
    return disc.x, disc.y, disc.radius, *disc.colour, 1.0


def _still_boxes(room: Place) -> Iterator[Box]:
    """Yields the boxes of a place that do not change, from back to front."""
    yield from room.boxes
    yield from [_NO_BOX] * (MAX_BOXES - len(room.boxes))
    yield Box(-0.12, -0.02, -2.0, 5.0, IRON)  # the walls' edges
    yield Box(EXTENT + 0.02, EXTENT + 0.12, -2.0, 5.0, IRON)
    x = room.lamp
    yield Box(x - 0.03, x + 0.03, LAMP_HEIGHT + 0.2, 5.0, INK)  # cord and shade
    yield Box(x - 0.27, x + 0.27, LAMP_HEIGHT + 0.04, LAMP_HEIGHT + 0.28, IRON)
    lamps = _score_lamps(room)
    yield Box(lamps[0] - 0.2, lamps[-1] + 0.2, BOARD_HEIGHT - 0.2, BOARD_HEIGHT + 0.2, INK)
    frame = DOOR_HALF + 0.08
    yield Box(room.door - frame, room.door + frame, 0.0, DOOR_HEIGHT + 0.08, IRON)


def _still_discs(room: Place) -> Iterator[Disc]:
    yield from room.discs
    yield from [_NO_DISC] * (MAX_DISCS - len(room.discs))
    for x in _score_lamps(room):
        yield Disc(x, BOARD_HEIGHT, 0.12, UNLIT)


def _score_lamps(room: Place) -> list[float]:
    board = room.lamp + (1.15 if room.lamp <= 0.5 * EXTENT else -1.15)
    return [board + BOARD_STEP * (i - 0.5 * (SCORE - 1)) for i in range(SCORE)]


def _door(room: Place, opening: np.ndarray) -> np.ndarray:
    """Returns the boxes of a door, [F, 2, 8]: the dark behind it, and its leaf.

    `opening` [F] is 0 for a closed door, 1 for an open one. The leaf of an open door is narrow,
    because it is seen from its edge.
    """
    boxes = np.zeros((len(opening), 2, 8))
    left, right = room.door - DOOR_HALF, room.door + DOOR_HALF
    boxes[:] = (
        _box(Box(left, right, 0.0, DOOR_HEIGHT, DARK)),
        _box(Box(left, right, 0.0, DOOR_HEIGHT, room.leaf)),
    )
    edge = 1 if room.inside > 0.0 else 0  # the hinge is at the side of the wall
    boxes[:, 1, edge] += room.inside * -1.6 * DOOR_HALF * opening
    return boxes


def _knob(room: Place, opening: np.ndarray) -> np.ndarray:
    knob = np.zeros((len(opening), 1, 7))
    knob[:] = _disc(Disc(room.door + room.inside * (DOOR_HALF - 0.13), 0.95, 0.07, INK))
    knob[:, 0, 6] = 1.0 - opening
    return knob


def _glow(room: Place, light: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Returns the discs that shine by themselves, [F, 1 + SCORE, 7]: bulb and lit score lamps."""
    discs = np.zeros((len(light), 1 + SCORE, 7))
    discs[:, 0] = _disc(Disc(room.lamp, LAMP_HEIGHT - 0.06, 0.17, BULB))
    discs[:, 0, 3:6] = 0.30 + light[:, None] * (np.array(BULB) - 0.30)
    for i, x in enumerate(_score_lamps(room)):
        discs[:, 1 + i] = _disc(Disc(x, BOARD_HEIGHT, 0.13, LIT))
        discs[:, 1 + i, 6] = score > i
    return discs


_BOXES, _DISCS = len([*_still_boxes(ROOMS[0])]) + 2, len([*_still_discs(ROOMS[0])]) + 1


def _boxes_to_pixels(boxes: np.ndarray, view: np.ndarray, size: int) -> np.ndarray:
    """Converts boxes [F, N, 8] from metres to pixels, for views (left, top, width) [F, 3]."""
    boxes, scale = boxes.copy(), (size / view[:, 2])[:, None, None]
    boxes[..., :2] = (boxes[..., :2] - view[:, None, :1]) * scale - 0.5
    boxes[..., 2:4] = (view[:, None, 1:2] - boxes[..., 2:4]) * scale - 0.5
    return boxes


def _discs_to_pixels(discs: np.ndarray, view: np.ndarray, size: int) -> np.ndarray:
    """Converts discs [F, N, 7] from metres to pixels, for views (left, top, width) [F, 3]."""
    discs = discs.copy()
    discs[..., :2] = project(view[:, None], discs[..., :2], size)
    discs[..., 2] *= (size / view[:, 2])[:, None]
    return discs
