"""The own colour of the documentation is rendered, written, read and judged like the six of the
world, which stay what they were.
"""

from pathlib import Path

import numpy as np
import pytest

from sora_jax.modality import FORMATS
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import render_takes
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.verdict import judge_prompt
from sora_jax.registry import forget_file, load_module
from sora_jax.worlds.playhouse.captions import CaptionError, parse
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.spec import COLOURS, MORE_COLOURS, add_colour, palette

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_colour.py"


@pytest.fixture
def cyan():
    load_module(str(EXAMPLE))
    yield FAMILIES["cyan"]
    del FAMILIES["cyan"], MORE_COLOURS["cyan"]
    forget_file(EXAMPLE)


def test_the_oracles_ask_the_palette(cyan):
    clips = render_takes([draw("val", i, family="cyan") for i in range(4)], FORMATS["nano"])
    for clip in clips:
        assert "cyan" in {ball.colour for ball in clip.take.scene.balls}
        reading = Reading(clip)
        assert ORACLES["facts"].judge(clip, reading) and ORACLES["tracker"].judge(clip, reading)
        assert judge_prompt(clip.take.captions[0], reading, ("cyan",)).met
    red, green, blue = np.asarray(clips[0].frames, np.float32).transpose(3, 0, 1, 2)
    assert (np.minimum(green, blue) - red > 0.3).any(), "there is something cyan"


def test_rooms_read_the_same_beside_it(cyan):
    clips = render_takes([draw("val", i) for i in range(3)], FORMATS["nano"])
    assert all(ORACLES["facts"].judge(clip, Reading(clip)) for clip in clips)
    assert not any("cyan" in clip.take.captions[0] for clip in clips)


def test_without_it_there_are_six():
    assert palette() == COLOURS and "cyan" not in FAMILIES
    with pytest.raises(CaptionError, match="expected a colour"):
        parse("a small cyan ball is dropped and bounces once")


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ValueError, match=r"'red' is .* give another name"):
        add_colour("red", (0.0, 1.0, 1.0))
    add_colour("red", COLOURS["red"])
    assert "red" not in MORE_COLOURS
