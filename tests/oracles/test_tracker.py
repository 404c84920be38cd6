"""The tracker on discs drawn here, independently of the world's renderer."""

import numpy as np
import pytest

from sora_jax.oracles.tracker import track
from sora_jax.worlds.playhouse.spec import COLOURS, to_pixels

SIZE = 64


def disc(position, radius, colour, room, samples=8):
    """One frame [64, 64, 3] with a disc (metres), anti-aliased by counting sub-pixels."""
    fine = (np.arange(SIZE * samples) + 0.5) / samples - 0.5
    column, row = to_pixels(np.asarray(position, float), 4.0, SIZE)
    inside = (fine[None] - column) ** 2 + (fine[:, None] - row) ** 2 < (radius * SIZE / 4.0) ** 2
    cover = inside.reshape(SIZE, samples, SIZE, samples).mean((1, 3))[..., None]
    return room * (1 - cover) + np.array(COLOURS[colour]) * cover


@pytest.fixture(scope="module")
def room():
    return np.broadcast_to(
        np.where(np.arange(SIZE)[:, None, None] < 59, [0.9, 0.89, 0.86], [0.6, 0.58, 0.55]),
        (SIZE, SIZE, 3),
    )


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("radius", [0.24, 0.43])
def test_centres_and_radii(room, colour, radius):
    path = np.stack([np.linspace(0.7, 3.2, 17), 1.5 + np.sin(np.arange(17))], -1)
    (seen,) = track(np.stack([disc(p, radius, colour, room) for p in path]))
    assert seen.colour == colour and seen.found.all()
    assert seen.rms_pixels(path, SIZE) < 0.1
    assert np.allclose(seen.radius, radius, atol=0.02)
    assert seen.motion == pytest.approx(np.linalg.norm(path - path[0], axis=1).max(), abs=0.02)


def test_a_ball_that_never_moves_is_found(room):
    frame = disc((2.0, 0.43), 0.43, "green", room)
    (seen,) = track(np.stack([frame] * 17))
    assert seen.colour == "green" and seen.found.all() and seen.motion < 0.01
    assert seen.rms_pixels(np.full((17, 2), [2.0, 0.43]), SIZE) < 0.2


def test_lost_double_and_jumping_balls(room):
    path = np.stack([np.linspace(0.7, 3.2, 17), np.full(17, 2.0)], -1)
    frames = np.stack([disc(p, 0.25, "red", room) for p in path])
    frames[5] = room
    frames[9] = disc((0.6, 0.6), 0.25, "red", frames[9])
    frames[12] = disc((0.4, 0.4), 0.25, "red", room)
    (seen,) = track(frames)
    assert [int(c) for c in seen.copies[[4, 5, 9]]] == [1, 0, 2]
    assert np.isnan(seen.position[5]).all() and seen.jumps(8) == 2
    assert not seen.found[[5, 9]].any() and seen.found.sum() == 15


def test_an_empty_room_holds_no_ball(room):
    noise = np.random.default_rng(0).normal(scale=10 / 255, size=(17, SIZE, SIZE, 3))
    assert track(np.clip(room + noise, 0, 1)) == []
    assert track(np.zeros((17, SIZE, SIZE, 3))) == []
    assert track(np.random.default_rng(0).uniform(size=(5, SIZE, SIZE, 3))) == []
