"""Inputs of the renderer: takes (scenes with their motion) as arrays with a leading axis B.

Arrays that no take of a batch needs (of shapes, of a moving camera, of a style) are left out, so
that they cost no time. Arrays have a fixed number of slots for balls, actors and shapes, of which
some stay unused, so that takes can be stacked.
"""

from collections.abc import Sequence

import numpy as np

from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse import acting
from sora_jax.worlds.playhouse.camera import affine, project, views
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.render.looks import look
from sora_jax.worlds.playhouse.render.shapes import CORNERS
from sora_jax.worlds.playhouse.render.styles import SKIES
from sora_jax.worlds.playhouse.spec import (
    BACKDROPS,
    BELOW_FLOOR,
    PAINTS,
    STYLES,
    Scene,
    Shape,
    material,
    palette,
)
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Contact

# Numbers of slots for still shapes are multiples of these, so that few programs are compiled.
PLACES = {"boxes": 2, "bars": 8}
LIT = ("realistic", "cinematic")  # the lit styles
TEXTURE = 12  # random numbers in [0, 1) that place the details of a background
# sample times of an exposure of half a frame, in frames from the midpoint of the frame
SHUTTER = (-0.1875, -0.0625, 0.0625, 0.1875)
ON_TWOS = 16  # frames/s from which anime holds every drawing for two frames
POSE = 14  # length of the array `pose` of `characters.paint`
# speed lines of anime: impacts shown at once, their duration in s, the smallest impact speed in m/s
BURSTS, BURST_SECONDS, BURST_SPEED = 2, 0.2, 2.0


def shown_times(style: str, format: ClipFormat) -> np.ndarray:
    """Returns the times in seconds at which the frames of a style show the balls, float64 [F].

    They are the midpoints of the frames, except in anime from ON_TWOS frames/s on: it is drawn on
    twos, so each drawing of the balls lasts two frames. The camera moves in every frame.

    Args:
        style: a name in STYLES or FILM_STYLES of `spec.py`.
        format: the clip format.
    """
    times = format.frame_times()
    return (
        times[np.arange(format.frames) // 2 * 2]
        if style == "anime" and format.fps >= ON_TWOS
        else times
    )


def render_inputs(
    takes: Sequence[Take], format: ClipFormat, alone: bool = False
) -> dict[str, np.ndarray]:
    """Returns the arrays from which `program.render` draws B takes, by name, float32
    (seeds: uint32) with a leading axis B.

    They have slots for as many balls as the families of the takes may have (`Family.max_balls`), so
    batches of one family are rendered by one compiled program. They have slots for as many shapes
    as the takes have, so shapes cost nothing where there are none. Unused slots of balls have
    radius 0, those of shapes `present` 0.

    Args:
        takes: the B takes.
        format: the clip format.
        alone: True for a single slot for balls, if each take has exactly one ball. Default: False.
    """
    b, size = len(takes), format.size
    alone = alone and all(len(take.scene.balls) == 1 for take in takes)
    k = 1 if alone else max(FAMILIES[take.family].max_balls for take in takes)
    inputs = {
        "centre": np.full((b, format.frames, k, 2), -1e3, np.float32),  # pixels (column, row)
        "radius": np.zeros((b, k), np.float32),  # pixels of the view at time 0
        "colour": np.zeros((b, k, 3), np.float32),
        "shine": np.zeros((b, k), np.float32),
        "wall": np.zeros((b, 3), np.float32),
        "floor": np.zeros((b, 3), np.float32),
        "shaded": np.zeros((b,), np.float32),
    }
    for i, take in enumerate(takes):
        scene = take.scene
        n = len(scene.balls)
        inputs["centre"][i, :, :n] = _centres(
            take, shown_times(scene.style, format), format.frame_times(), size
        )
        inputs["radius"][i, :n] = [ball.radius * (size / _first(scene)[2]) for ball in scene.balls]
        colours = palette()
        inputs["colour"][i, :n] = np.array([colours[ball.colour] for ball in scene.balls]).reshape(
            n, 3
        )
        inputs["shine"][i, :n] = [material(ball.material).shine for ball in scene.balls]
        inputs["wall"][i], inputs["floor"][i] = BACKDROPS[scene.backdrop]
        inputs["shaded"][i] = scene.style == STYLES[1]
    lines = [_floor_row(take.scene, size) for take in takes]
    # the floor row of rooms is a constant of their program, not an input
    if any(line != size * (1.0 - BELOW_FLOOR / 4.0) - 0.5 for line in lines):
        inputs["floor_row"] = np.array(lines, np.float32)
    if any(len(take.scene.view) > 1 for take in takes):
        inputs["view"] = np.stack(
            [affine(take.scene, format.frame_times(), size) for take in takes]
        ).astype(np.float32)
    for place in ("behind", "front", "moving"):
        for kind in CORNERS:
            inputs |= _shape_inputs(takes, place, kind, format)
    return inputs | _style_inputs(takes, format, k) | cast_inputs(takes, format)


def cast_inputs(takes: Sequence[Take], format: ClipFormat) -> dict[str, np.ndarray]:
    """Returns the arrays of the actors of B takes, by name; {} without any actor.

    They have slots for N actors, as many as the families of the takes may have. The keys are
    `cast_NAME` [B, N, ...] for each array NAME of `looks.look`, `cast_present` [B, N], 0 for an
    unused slot, `cast_pose` [B, F, N, 14], the pose of `characters.paint`, and `cast_scale` [B],
    pixels per metre at time 0. Actors move in every frame also in anime, so that a mouth is the
    same in all styles.
    """
    if not any(take.scene.cast for take in takes):
        return {}
    slots = max(max(FAMILIES[take.family].max_cast, len(take.scene.cast)) for take in takes)
    anyone = next(actor.character for take in takes for actor in take.scene.cast)
    times, rows = format.frame_times(), []
    poses = np.zeros((len(takes), format.frames, slots, POSE), np.float32)
    for i, take in enumerate(takes):
        cast = take.scene.cast
        for n, actor in enumerate(cast):
            pose = acting.pose(actor, times)
            ground = project(_first(take.scene), pose.pop("ground"), format.size)
            parts = [ground, *(part.reshape(len(times), -1) for part in pose.values())]
            poses[i, :, n] = np.concatenate(parts, axis=1)
        looks = [look(actor.character) | {"present": np.float32(1.0)} for actor in cast]
        unused = {name: np.ones_like(part) for name, part in look(anyone).items()}
        looks += [unused | {"present": np.float32(0.0)}] * (slots - len(cast))
        rows.append({name: np.stack([one[name] for one in looks]) for name in looks[0]})
    scale = [format.size / _first(take.scene)[2] for take in takes]
    arrays = {f"cast_{name}": np.stack([row[name] for row in rows]) for name in rows[0]}
    return arrays | {"cast_pose": poses, "cast_scale": np.array(scale, np.float32)}


def _first(scene: Scene) -> np.ndarray:
    """Returns the camera's view (left, top, width) at time 0, in metres, [3]."""
    return views(scene, np.zeros(1))[0]


def _centres(take: Take, ball_times: np.ndarray, view_times: np.ndarray, size: int) -> np.ndarray:
    """Returns the centres of the balls in pixels, (column, row), [F, K, 2].

    `ball_times` [F] are the times of the balls, `view_times` [F] those of the camera, in s. A ball
    that is fully hidden behind a panel is moved far away, because its shadow must not reveal it.
    """
    centres = project(
        views(take.scene, view_times)[:, None], take.trajectory.positions(ball_times), size
    )
    for k, start, end in take.hidden:
        centres[(ball_times >= start) & (ball_times <= end), k] = -1e3
    return centres


def _floor_row(scene: Scene, size: int) -> float:
    """Returns the row of y = 0 at time 0, in pixels."""
    if not scene.view:
        return size * (1.0 - scene.below / scene.extent) - 0.5
    return float(project(_first(scene), np.zeros(2), size)[1])


def _group(shape: Shape) -> tuple[str, str]:
    kind = "boxes" if len(shape.points) > 2 else "bars"
    if shape.moves:
        return "moving", kind
    return "front" if shape.front else "behind", kind


def _shape_inputs(
    takes: Sequence[Take], place: str, kind: str, format: ClipFormat
) -> dict[str, np.ndarray]:
    """Returns the arrays of one group of up to S shapes with up to C corners, in pixels at time 0.

    `place` is "behind", "front" or "moving", `kind` a key of CORNERS. The keys start with
    "PLACE_KIND_". They are corners [B, S, C, 2], radius [B, S], present [B, S], 0 for an unused
    slot, and colour [B, S, 3]. Moving shapes also have front [B, S], 1 for those in front of the
    balls, and offset [B, F, S, 2], the displacement in every frame.
    """
    chosen = [
        [(s, shape) for s, shape in enumerate(take.scene.shapes) if _group(shape) == (place, kind)]
        for take in takes
    ]
    places, count = (
        1 if place == "moving" else PLACES[kind],
        max([CORNERS[kind], *(len(shape.points) for group in chosen for _, shape in group)]),
    )
    b, n = len(takes), -(-max(map(len, chosen)) // places) * places
    corners = np.full((b, n, count, 2), -1e3, np.float32)
    radius, present, front = (np.zeros((b, n), np.float32) for _ in range(3))
    colour, offset = np.zeros((b, n, 3), np.float32), np.zeros((b, format.frames, n, 2), np.float32)
    for i, take in enumerate(takes):
        view = _first(take.scene)
        scale = format.size / view[2]
        for p, (s, shape) in enumerate(chosen[i]):
            points = project(view, np.array(shape.points), format.size)
            corners[i, p] = points[np.minimum(np.arange(count), len(points) - 1)]
            radius[i, p], present[i, p], colour[i, p], front[i, p] = (
                shape.radius * scale,
                1.0,
                PAINTS[shape.paint],
                shape.front,
            )
            if place == "moving":
                offset[i, :, p] = take.trajectory.displacements(
                    shown_times(take.scene.style, format)
                )[:, s] * (scale, -scale)
    names = {"corners": corners, "radius": radius, "present": present, "colour": colour}
    if place == "moving":
        names |= {"front": front, "offset": offset}
    return {f"{place}_{kind}_{name}": value for name, value in names.items()}


def _style_inputs(takes: Sequence[Take], format: ClipFormat, balls: int) -> dict[str, np.ndarray]:
    """Returns the arrays that styles other than `flat` and `shaded` need; {} if no take has one.

    `balls` is the number of slots for balls.
    """
    styles = [take.scene.style for take in takes]
    inputs = {}
    if not {*styles} & {*LIT, "anime"}:
        return inputs
    inputs["texture"] = np.zeros((len(takes), TEXTURE), np.float32)
    # pixels per metre at time 0
    inputs["scale"] = np.array([format.size / _first(take.scene)[2] for take in takes], np.float32)
    for i, take in enumerate(takes):
        stream = Stream(take.scene.seed, TEXTURE)
        inputs["texture"][i] = [stream.uniform() for _ in range(TEXTURE)]
    if {*styles} & {*LIT}:
        inputs["lit"] = np.array([style in LIT for style in styles], np.float32)
        inputs["seed"] = np.array([take.scene.seed for take in takes], np.uint32)
    if "cinematic" in styles:
        inputs["cinematic"] = np.array([style == "cinematic" for style in styles], np.float32)
        inputs["shutter"] = np.zeros(
            (len(takes), format.frames, len(SHUTTER), balls, 2), np.float32
        )
        times = format.frame_times()
        for i, take in enumerate(takes):
            if styles[i] == "cinematic":
                for j, offset in enumerate(SHUTTER):
                    moments = times + offset / float(format.fps)
                    inputs["shutter"][i, :, j, : len(take.scene.balls)] = _centres(
                        take, moments, moments, format.size
                    )
            else:
                inputs["shutter"][i] = _padded(take, format, balls)[:, None]
    if "anime" in styles:
        inputs["anime"] = np.array([style == "anime" for style in styles], np.float32)
        inputs["sky"] = np.array(
            [SKIES[take.scene.backdrop % len(SKIES)] for take in takes], np.float32
        )
        inputs["burst"] = np.stack([_bursts(take, format) for take in takes]).astype(np.float32)
    return inputs


def _padded(take: Take, format: ClipFormat, balls: int) -> np.ndarray:
    centres = np.full((format.frames, balls, 2), -1e3)
    centres[:, : len(take.scene.balls)] = _centres(
        take, shown_times(take.scene.style, format), format.frame_times(), format.size
    )
    return centres


def _bursts(take: Take, format: ClipFormat) -> np.ndarray:
    """Returns the impacts with speed lines, [F, BURSTS, 4]: column, row, radius of the ball in
    pixels, age.

    The age is the time since the impact over BURST_SECONDS, from 0 to 1. Unused slots have age 1.
    """
    out, frame_times = np.zeros((format.frames, BURSTS, 4)), format.frame_times()
    out[..., 3] = 1.0
    if take.scene.style != "anime":
        return out

    def is_hidden(c: Contact) -> bool:
        return any(k == c.a and start <= c.time <= end for k, start, end in take.hidden)

    contacts = [
        c
        for c in take.trajectory.contacts
        if c.speed >= BURST_SPEED and c.kind != "crate" and not is_hidden(c)
    ]
    for f, time in enumerate(shown_times("anime", format)):
        recent = [c for c in contacts if 0.0 <= time - c.time < BURST_SECONDS][-BURSTS:]
        for j, c in enumerate(recent):
            view = views(take.scene, frame_times[f : f + 1])[0]
            centre = project(
                view, take.trajectory.positions(np.array([c.time]))[0, c.a], format.size
            )
            out[f, j] = (
                *centre,
                take.scene.balls[c.a].radius * format.size / view[2],
                (time - c.time) / BURST_SECONDS,
            )
    return out
