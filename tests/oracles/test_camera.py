"""The camera of films that are rendered here, against the views that they were rendered with; and
moves told from views.
"""

import numpy as np

from sora_jax.modality import FORMATS
from sora_jax.oracles import camera, examples
from sora_jax.worlds.playhouse.camera import views
from sora_jax.worlds.playhouse.draw import draw

FORM = FORMATS["nano"]


def test_views_are_read_to_a_fraction_of_a_pixel():
    for clip in examples.render_takes(
        [draw("val", i, family="film") for i in range(4)], FORM, batch=4
    ):
        found, true = (
            camera.read_camera(clip.frames, FORM.fps),
            views(clip.take.scene, FORM.frame_times()),
        )
        assert found.rms_pixels(true, FORM.size) < 0.15
        assert found.rms_pixels(true + np.array([0.1, 0.0, 0.0]), FORM.size) > 1.0


def test_a_room_has_no_posts(clips):
    assert [camera.read_camera(clip.frames, FORM.fps) for clip in clips[:4]] == [None] * 4


def test_moves():
    t = FORM.frame_times()
    still = np.tile((-0.72, 4.42, 5.44), (len(t), 1))
    pan, push, shake, follow = still.copy(), still.copy(), still.copy(), still.copy()
    pan[:, 0] += 0.88 * t / 2.125
    push[:, 2] -= 0.5 * t
    shake[5:8, 1] += (0.08, -0.06, 0.05)
    follow[:, 0] += 0.3 * np.minimum(t, 1.0)
    assert camera.move(still, FORM.fps) == ("static", None)
    assert camera.move(pan, FORM.fps) == ("pan", "right") and camera.move(pan[::-1], FORM.fps) == (
        "pan",
        "left",
    )
    assert [camera.move(v, FORM.fps)[0] for v in (push, shake, follow)] == [
        "push-in",
        "shake",
        "follow",
    ]
