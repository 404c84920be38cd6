"""Prompts that are storyboards: they choose the format, and what does not fit is said."""

import copy

import pytest
from toy_formats import FORM, STORY

from sora_jax.errors import UserError
from sora_jax.pipelines.request import Request

HEAD = "[STYLE cinematic | AMBIENCE crickets | CAST @uma | BALL green] "
FIRST = "[SHOT 1 | {} s | wide | static | room a] @uma leaves for room d. "
SECOND = "[SHOT 2 | {} s | wide | static | room d] @uma switches the lamp off."
CARDS = HEAD + FIRST.format(1.1) + SECOND.format(0.6)  # as the toy format STORY
LONG = HEAD + FIRST.format(2) + SECOND.format(2)
PROSE = (
    "In cinematic style, crickets sing, with @uma, and a green ball. First, a wide shot inside "
    "room a lasting 1.1 seconds: @uma leaves for room d. Cut to wide inside room d lasting 0.6 "
    "seconds: @uma switches the lamp off."
)


def made(pipeline, prompt, **fields):
    return pipeline(prompt, steps=1, progress=False, **fields)


@pytest.mark.parametrize("prompt", [CARDS, PROSE])
def test_a_storyboard_chooses_the_format_with_its_shots(pipeline, prompt):
    assert pipeline.format == FORM and pipeline.in_format_of_prompt(prompt).format == STORY
    assert made(pipeline, prompt).format == STORY
    assert pipeline.in_format_of_prompt("a red ball").format == FORM
    assert made(pipeline.in_format(shots=2), "a red ball is dropped").format == STORY


def test_shots_that_the_format_lacks_are_named(pipeline):
    with pytest.raises(UserError, match=r"2 shots and the format 1; choose a format with as many"):
        pipeline.generate(Request(CARDS))
    with pytest.raises(UserError, match=r"shot 1: 2 s are 16 frames at 8 fps, and the format has"):
        made(pipeline.in_format(shots=2), LONG)


def test_a_model_without_shots_says_so(pipeline):
    plain = copy.copy(pipeline)
    plain.formats = (FORM,)
    with pytest.raises(UserError, match="this model learned no storyboards; give weights"):
        made(plain, CARDS)
    one = made(plain, HEAD + FIRST.format(2))
    assert one.format == FORM
    plain.trained_on = {"source": "playhouse", "family": "room"}
    with pytest.raises(UserError, match="the storyboard has 1 shot, and this model learned no"):
        made(plain, HEAD + FIRST.format(2))


def test_cards_that_cannot_be_read_say_where(pipeline):
    with pytest.raises(UserError, match=r"cannot be read: shot 2, column 1\d\d: expected") as error:
        made(pipeline, CARDS.replace("switches", "swallows"))
    assert error.value.field == "prompt" and "\n" not in str(error.value)
