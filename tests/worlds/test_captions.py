"""Captions say the facts, and every paraphrase reads back to them."""

import hypothesis
import hypothesis.strategies as st
import pytest

from sora_jax.worlds.playhouse.captions import (
    BOUNCE_PHRASES,
    LAUNCH_PHRASES,
    WORDS,
    BallFacts,
    CaptionError,
    Facts,
    caption,
    parse,
)
from sora_jax.worlds.playhouse.spec import COLOURS, SIZES


@st.composite
def facts(draw):
    balls = []
    for colour in draw(
        st.lists(st.sampled_from(sorted(COLOURS)), min_size=1, max_size=3, unique=True)
    ):
        launch = draw(st.sampled_from(sorted(LAUNCH_PHRASES)))
        direction = None if launch == "dropped" else draw(st.sampled_from(["left", "right"]))
        balls.append(
            BallFacts(
                colour,
                draw(st.sampled_from(sorted(SIZES))),
                launch,
                direction,
                draw(st.sampled_from(sorted(BOUNCE_PHRASES))),
            )
        )
    return Facts(tuple(balls))


@hypothesis.given(facts(), st.integers(0, 2**20))
@hypothesis.settings(max_examples=300, deadline=None)
def test_every_paraphrase_reads_back(facts, variant):
    text = caption(facts, variant)
    assert parse(text).key() == facts.key()
    assert parse(text.upper()).key() == facts.key()
    assert {w.strip(".,;:").lower() for w in text.split()} <= set(WORDS)


def test_paraphrases_differ():
    ball = BallFacts("red", "large", "thrown", "left", 2)
    texts = {caption(Facts((ball,)), v) for v in range(24)}
    assert len(texts) >= 8
    assert "a large red ball is thrown to the left and bounces twice" in texts


@pytest.mark.parametrize(
    "text, column, expected",
    [
        ("a huge red ball is dropped and bounces once", 3, "size"),
        ("a large red ball is dropped and bounces sideways", 41, "bounce count"),
        ("a large red ball is flung to the left", 21, "launch"),
        ("three balls: a large red ball is dropped and bounces once", 1, "'one'"),
        ("a large red cube is dropped", 13, "ball"),
        ("", 1, "'a' or 'an'"),
        ("a large red ball hovers", 18, "launch"),
    ],
)
def test_errors_say_where(text, column, expected):
    with pytest.raises(CaptionError) as error:
        parse(text)
    assert error.value.column == column and expected in str(error.value)
