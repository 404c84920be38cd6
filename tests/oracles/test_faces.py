"""Faces of talks in all styles, their mouths, and scenes without a face."""

import numpy as np
import pytest

from experiments import fit_faces
from sora_jax.modality import FORMATS
from sora_jax.oracles import examples, faces
from sora_jax.worlds.playhouse import acting


def check_faces(clip, tolerance=0.05):
    found = faces.find_faces(clip.frames)
    true = examples.head_centres(clip).mean(1)
    assert len(found) == len(true)
    for face, centre in zip(found, true, strict=True):
        assert np.hypot(*(centre - [face.x, face.y])) < tolerance
        assert face.shown == clip.take.scene.view[0][3] and face.score > faces.SHARE * faces.LEAST


def test_faces_are_found_in_all_styles(talks):
    for clip in talks:
        check_faces(clip)
    assert {clip.take.scene.style for clip in talks} == set(fit_faces.FILM_STYLES)
    assert {len(clip.take.scene.cast) for clip in talks} == {1, 2}


def test_faces_of_larger_frames(talks):
    clip = talks[0]
    large = clip.frames.repeat(2, axis=1).repeat(2, axis=2)
    (a, *_), (b, *_) = faces.find_faces(clip.frames), faces.find_faces(large)
    np.testing.assert_allclose([a.x, a.y, a.score], [b.x, b.y, b.score], atol=0.02)


def test_openings_follow_the_mouths(talks):
    for clip in talks:
        opening = faces.openings(clip.frames, faces.find_faces(clip.frames))
        for row, actor in zip(opening, clip.take.scene.cast, strict=True):
            if actor.speech:
                true = np.prod(acting.mouth(actor, clip.format.frame_times()), axis=1)
                assert np.corrcoef(row, true)[0, 1] > 0.85
            else:
                assert np.ptp(row) < 2e-3


def test_scenes_without_a_face_have_none(clips, talks):
    assert not any(faces.find_faces(clip.frames) for clip in clips[:8])
    assert not any(faces.find_faces(clip.frames) for clip in examples.empty(talks))
    assert faces.openings(clips[0].frames, []).shape == (0, FORMATS["nano"].frames)


@pytest.mark.slow
def test_the_table_can_be_made_again(talks, monkeypatch):
    """From few clips: most faces are found."""
    table = fit_faces.fit(96)
    weights = table["weights"].reshape(faces.CHANNELS, faces.ROWS, faces.COLUMNS)
    monkeypatch.setattr(faces, "_table", lambda: (weights, table["constant"]))
    found = [len(faces.find_faces(c.frames)) == len(c.take.scene.cast) for c in talks]
    assert sum(found) >= len(found) - 2
