"""The own family of the documentation draws, describes, reads back and judges."""

from pathlib import Path

import pytest

from sora_jax.data.sources import PlayhouseSource
from sora_jax.modality import FORMATS
from sora_jax.oracles.examples import render_takes
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.verdict import judge_prompt
from sora_jax.registry import forget_file, load_module
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.takes import draw_takes

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_family.py"


@pytest.fixture
def moon():
    load_module(str(EXAMPLE))
    yield FAMILIES["moon"]
    del FAMILIES["moon"]
    forget_file(EXAMPLE)


def test_an_own_family_is_as_good_as_ours(moon):
    takes = [draw("val", i, family="moon") for i in range(3)]
    assert [take.scene.gravity for take in takes] == [1.6] * 3
    assert takes[0].facts != draw("val", 0).facts, "scenes of its own"
    clips = render_takes(takes, FORMATS["nano"])
    for clip, other in zip(clips, takes[1:] + takes[:1], strict=True):
        text = clip.take.captions[0]
        assert moon.parse(text).key() == clip.take.facts.key()
        told = judge_prompt(text, Reading(clip), ("moon",))
        assert (told.met, told.family) == (True, "moon")
        assert {line.fact for line in told.lines if line.met is None} == {"launch", "bounces"}
        assert not judge_prompt(other.captions[0], Reading(clip), ("moon",)).met
    identity = PlayhouseSource("train", FORMATS["nano"], 2, family="moon").identity
    assert (identity["family"], identity["family_version"]) == ("moon", 1)


def test_other_processes_draw_it_too(moon):
    (take,) = draw_takes("val", [0], workers=1, family="moon")
    assert take.facts == draw("val", 0, family="moon").facts


def test_it_is_gone_again():
    assert "moon" not in FAMILIES
