"""Storyboards read back from both forms, errors name shot and column, and acts that contradict each
other are refused.
"""

import pytest

from sora_jax.errors import UserError
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.worlds.playhouse.captions import CaptionError
from sora_jax.worlds.playhouse.continuity import beginning, gap
from sora_jax.worlds.playhouse.families.story_boards import draw_board
from sora_jax.worlds.playhouse.spec import FILM_STYLES
from sora_jax.worlds.playhouse.storyboard import (
    Act,
    Shot,
    Storyboard,
    check_format,
    format_of,
    frames_of,
)
from sora_jax.worlds.playhouse.storyboard_reader import StoryboardError, read
from sora_jax.worlds.playhouse.storyboard_text import ACT_PHRASES, WORDS, write
from sora_jax.worlds.playhouse.stream import Stream

HEAD = "[STYLE anime | AMBIENCE rain | CAST @mika, @rolo | BALL red] "
PROSE = "In anime style, rain falls, with @mika and @rolo and a red ball. "


def board(*shots: Shot) -> Storyboard:
    return Storyboard("anime", "rain", ("@mika", "@rolo"), shots, "red")


def drawn(count):
    for i in range(count):
        stream = Stream(77, i)
        style = FILM_STYLES[i % 4]
        yield i, draw_board(stream, style, 1 + stream.integer(6), wide_ends=False)


def reads_back(count):
    for i, made in drawn(count):
        for cards in (False, True):
            text = write(made, i, held_out=i % 3 == 0, cards=cards)
            assert read(text) == made, text
        assert Storyboard.from_dict(made.to_dict()) == made
        beginning(made)


def test_both_forms_read_back():
    reads_back(500)


@pytest.mark.slow
def test_both_forms_of_many_read_back():
    reads_back(10_000)


def test_the_examples_of_the_design_read_back():
    cards = (
        HEAD + "[SHOT 1 | 2 s | wide | pan left | room a] @mika throws the ball to @rolo. "
        '[SHOT 2 | close-up on @rolo] @rolo says "two".'
    )
    wanted = board(
        Shot("room a", move="pan left", acts=(Act("@mika", "throw", "@rolo"),)),
        Shot("room a", "close-up", "@rolo", acts=(Act("@rolo", "say", words=("two",)),)),
    )
    assert read(cards) == wanted
    prose = (
        PROSE + "First, wide, in room a, panning left: @mika throws the ball to @rolo. "
        "Cut to a close-up of @rolo, who says two."
    )
    assert read(prose) == wanted and read(prose.upper()) == wanted


def test_there_are_eight_paraphrases_and_held_out_ones_are_apart():
    made = next(b for i, b in drawn(50) if len(b.shots) > 2)
    for cards in (False, True):
        assert len({write(made, i, cards=cards) for i in range(40)}) >= 8
    held = {phrases[-1] for table in ACT_PHRASES.values() for phrases in table.values()}
    for i, other in drawn(60):
        usual = write(other, i)
        assert not any(f" {phrase}" in usual for phrase in held if "{" not in phrase), usual


def test_words_are_known():
    for i, made in drawn(100):
        text = write(made, i, cards=i % 2 == 0, held_out=i % 3 == 0).lower()
        for mark in '[]|.,:;"@-':
            text = text.replace(mark, " ")
        assert set(text.split()) <= set(WORDS)


@pytest.mark.parametrize(
    "text, shot, at, expected",
    [
        ("hello", 0, "hello", "a style such as 'in anime style', or '['"),
        (HEAD.replace("rain", "snow"), 0, "snow", "an ambience"),
        (HEAD + "[SHOT 2 | wide]", 1, "2 |", "the number 1"),
        (HEAD + "[SHOT 1 | wide] ", 1, "]", "a place"),
        (HEAD + "[SHOT 1 | wide | room z]", 1, "z", "'a' or 'b'"),
        (HEAD + "[SHOT 1 | room a | wide | wide]", 1, "wide]", "only one frame"),
        (HEAD + "[SHOT 1 | room a] @juna waits", 1, "@juna", "a name of the cast (@mika, @rolo)"),
        (HEAD + "[SHOT 1 | room a] @mika waits [SHOT 2] @rolo flies", 2, "flies", "an act such"),
        (HEAD + "[SHOT 1 | room a] @mika turns on the door", 1, "door", "'lamp'"),
        (HEAD + '[SHOT 1 | room a] @mika says "fish"', 1, "fish", "one to 4 words of one"),
        (HEAD + "[SHOT 1 | room a] @mika throws the ball to @mika", 1, "@mika", "another of"),
        (PROSE + "First, a wide shot in room a: @mika waits. Then a cut", 1, "a cut", "a name"),
        (PROSE + "First, a wide shot: @mika waits.", 1, "@mika waits", "a place such as"),
        (PROSE + "First, wide in room a. Next, the face of @joe", 2, "@joe", "a name of the cast"),
        (PROSE + "First, wide in room a for two seconds", 1, "two", "a number of seconds"),
    ],
)
def test_errors_name_shot_and_column(text, shot, at, expected):
    with pytest.raises(StoryboardError) as raised:
        read(text)
    error = raised.value
    assert isinstance(error, CaptionError) and error.shot == shot
    assert error.column == text.rindex(at) + 1, (error, text[error.column - 1 :])
    assert expected in error.expected and f"column {error.column}: expected" in str(error)
    assert str(error).startswith(f"shot {shot}, " if shot else "column")


def test_durations_are_whole_latents():
    assert frames_of(2.0, 8) == 17 and frames_of(2.0, 16) == 33 and frames_of(3.0, 8) == 25
    with pytest.raises(UserError, match=r"a shot of 0.1 s has 0.8 frames at 8 fps.*give 0.625 s"):
        frames_of(0.1, 8)
    story = board(Shot("room a"), Shot("room a", seconds=3.0))
    assert format_of(story, FORMATS["nano"]) == ClipFormat(frames=42, shots=(17, 25))
    check_format(story, format_of(story, FORMATS["nano"]))
    with pytest.raises(UserError, match=r"shot 2: 3 s are 24 frames at 8 fps, .* has 17"):
        check_format(story, FORMATS["story2"])
    with pytest.raises(UserError, match="has 2 shots and the format 3"):
        check_format(story, FORMATS["story3"])


@pytest.mark.parametrize(
    "acts, reason",
    [
        ("@mika turns on the lamp. @rolo turns on the lamp", "shot 1: the lamp is already on"),
        (
            "@rolo throws the ball to @mika and @mika misses it. @mika throws the ball to @rolo",
            "not",
        ),
        ("@mika goes to room b. @mika opens the door", "@mika is not in room a"),
        ("@mika closes the door. @mika goes to room b", "the door is closed"),
        ("@mika puts on a hat. @mika puts on a hat", "wears a hat already"),
    ],
)
def test_contradictions_are_refused(acts, reason):
    with pytest.raises(UserError, match=reason):
        beginning(read(HEAD + "[SHOT 1 | wide | room a] " + acts))


def test_the_gap_counts_the_shots_between():
    wide, close = Shot("room a"), Shot("room a", "close-up", "@mika")
    assert gap(board(wide)) == gap(board(wide, wide)) == 0
    assert gap(board(wide, close, wide)) == 1  # the door
    assert gap(board(wide, *[close] * 6, wide)) == 6
    away = Shot("room b", acts=(Act("@mika", "idle"),))
    assert gap(board(Shot("room a", acts=(Act("@rolo", "idle"),)), away, away, wide)) == 2
