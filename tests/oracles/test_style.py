"""The style of one film in every style, of a film that changes its style, and of what is no
film.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from sora_jax.modality import FORMATS
from sora_jax.oracles import examples, style
from sora_jax.worlds.playhouse.draw import draw, in_style
from sora_jax.worlds.playhouse.spec import FILM_STYLES

FORM = FORMATS["nano"]


@pytest.fixture(scope="module")
def films():
    take = draw("val", 1, family="film")
    return examples.render_takes([in_style(take, name) for name in FILM_STYLES], FORM, batch=4)


def test_every_style_is_told_also_in_noise(films):
    for film in films:
        noisy = np.clip(film.frames + film.rng.normal(scale=25 / 255, size=film.frames.shape), 0, 1)
        large = film.frames.repeat(2, axis=1).repeat(2, axis=2)
        assert [style.read_style(frames) for frames in (film.frames, noisy, large)] == [
            film.take.scene.style
        ] * 3


def test_a_style_is_one_throughout(films):
    half = FORM.frames // 2
    for film, other in zip(films, films[1:] + films[:1], strict=True):
        assert style.read_style(np.concatenate([film.frames[:half], other.frames[half:]])) is None


def test_what_is_no_film_has_no_style(films):
    assert [style.read_style(clip.frames) for clip in examples.blank(films)] == [None] * 4
    assert style.read_style(np.random.default_rng(0).uniform(size=films[0].frames.shape)) is None
    assert [
        style.read_style(style.mixed_tiles(film.frames, i)) for i, film in enumerate(films)
    ].count(None) >= 3


@pytest.mark.slow
def test_the_table_can_be_made_again(films, tmp_path):
    """From a tenth of the clips: films are told as the table tells them."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments.fit_style",
            "--num_clips=4",
            f"--output={tmp_path / 'style.json'}",
        ],
        check=True,
    )
    table = {
        name: np.array(values)
        for name, values in json.loads((tmp_path / "style.json").read_text()).items()
    }
    assert [
        (*style.STYLES, None)[style.probe(table, style.halves(film.frames))[0]] for film in films
    ] == list(FILM_STYLES)
