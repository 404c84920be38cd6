"""Tables of the documents that are made from the package's own tables: the words of prompts,
captions that the world draws, and materials.

`python -m benchmarks.documents` fills them, as it fills the tables of results.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sora_jax
from sora_jax.tables import markdown
from sora_jax.worlds.playhouse import captions, cast, storyboard, storyboard_text, voice
from sora_jax.worlds.playhouse.families import court_captions, film, look, occlude, talk_captions
from sora_jax.worlds.playhouse.spec import COLOURS, DIRECTIONS, MATERIALS, SIZES

COLUMNS = 92  # characters of a line of an example
# Family -> numbers of the scenes of `train` whose captions are shown.
EXAMPLES = {
    "room": (0, 4, 13),
    "court": (5, 7),
    "film": (7,),
    "occlude": (2,),
    "talk": (6, 9),
    "story": (3, 4),
}
# Shown in place of what a phrase leaves open.
OPEN = {"d": "SIDE", "a": "A", "b": "B", "c": "COLOUR", "p": "PLACE"}

# Name in the documents -> function that makes the table.
CODE_TABLES: dict[str, Callable[[], str]] = {}


def code_table(make: Callable[[], str]) -> Callable[[], str]:
    """Decorator: adds a function to CODE_TABLES under its own name."""
    CODE_TABLES[make.__name__] = make
    return make


def phrases(options: Iterable[str]) -> str:
    """Returns phrases as one cell of a table."""
    return ", ".join(f"`{option.format(**OPEN).strip()}`" for option in options)


def by_meaning(part: str, table: Mapping[Any, Sequence[str]]) -> list[list[str]]:
    """Returns a row for each meaning of a table of phrases: (part, meaning, phrases)."""
    return [[part, str(meaning), phrases(options)] for meaning, options in table.items()]


def _table(rows: Sequence[Sequence[str]]) -> str:
    return markdown(["part", "meaning", "phrases"], rows)


@code_table
def prompts_room() -> str:
    """Returns the table of the words of the family `room`."""
    counts = [f"{word} balls:" for word in captions.COUNT_WORDS.values()]
    return _table(
        [
            ["SIZE", "radius", phrases(SIZES)],
            ["COLOUR", "", phrases(COLOURS)],
            ["BALL", "", phrases(captions.NOUNS)],
            *by_meaning("LAUNCH", captions.LAUNCH_PHRASES),
            ["SIDE", "", phrases(DIRECTIONS)],
            *by_meaning("BOUNCES", captions.BOUNCE_PHRASES),
            ["between balls", "", phrases(captions.JOINTS)],
            ["before several balls", "may be left out", phrases(counts[1:])],
        ]
    )


@code_table
def prompts_look() -> str:
    """Returns the table of styles and cameras, of the families `film` and `occlude`."""
    rows = by_meaning("STYLE", look.STYLE_PHRASES) + by_meaning("CAMERA", look.CAMERA_PHRASES)
    order = ["ORDER", "which lands first", phrases(film.ORDER_PHRASES)]
    return _table([*rows, order, ["VOICE", "a word is said", phrases(film.VOICE_PHRASES)]])


@code_table
def prompts_court() -> str:
    """Returns the table of the words of the family `court`."""
    results = [
        [f"RESULT of a {action}", outcome, phrases(court_captions.RESULTS[outcome])]
        for action, outcomes in court_captions.OUTCOMES.items()
        for outcome in outcomes
    ]
    return _table([*by_meaning("ATTEMPT", court_captions.ATTEMPTS), *results])


@code_table
def prompts_occlude() -> str:
    """Returns the table of the words of the family `occlude`."""
    goes = ["GOES", "", phrases(occlude.GOES)]
    return _table(
        [*by_meaning("LAUNCH", occlude.LAUNCHES), goes, *by_meaning("FATE", occlude.FATES)]
    )


@code_table
def prompts_talk() -> str:
    """Returns the table of the words of the family `talk`."""
    return _table(
        [
            *by_meaning("AMBIENCE", talk_captions.AMBIENCE_PHRASES),
            *by_meaning("SHOT of one", talk_captions.ONE_PHRASES),
            ["SHOT of two", "medium", phrases(talk_captions.TWO_PHRASES)],
            ["SAYS", "first line", phrases(talk_captions.SAYS)],
            ["SAYS", "second line", phrases(talk_captions.ANSWERS)],
            ["WORDS", f"1 to {talk_captions.MAX_WORDS}", phrases(voice.WORDS)],
            [
                "NAME",
                f"{len(cast.NAMES)} names",
                phrases(f"@{n}" for n in cast.NAMES[:6]) + ", ...",
            ],
        ]
    )


@code_table
def prompts_story() -> str:
    """Returns the table of the words of stories."""
    acts = []
    for kind, table in storyboard_text.ACT_PHRASES.items():
        for word, values in (("SIDE", DIRECTIONS), ("PLACE", storyboard.PLACES)):
            if tuple(table) == values:  # one row for all of them
                table = {word: [p.replace(values[0], word) for p in table[values[0]]]}
        acts += by_meaning(f"ACT: {kind}", table)
    places = ["PLACE", "", phrases(storyboard.PLACES)]
    return _table(
        [
            *by_meaning("STYLE", storyboard_text.STYLE_PHRASES),
            *by_meaning("AMBIENCE", storyboard_text.AMBIENCE_PHRASES),
            places,
            *by_meaning("FRAME", storyboard_text.FRAME_PHRASES),
            *by_meaning("CAMERA", storyboard_text.MOVE_PHRASES),
            *acts,
            *by_meaning("after a throw", storyboard_text.OUTCOME_PHRASES),
        ]
    )


@code_table
def prompt_examples() -> str:
    """Returns a code block of captions that the world draws, family by family."""
    lines = []
    for family, numbers in EXAMPLES.items():
        for number in numbers:
            caption = sora_jax.draw("train", number, family=family).captions[0]
            first, *rest = textwrap.wrap(caption, COLUMNS - 10)
            lines += [f"{family:10}{first}", *(f"{'':10}{line}" for line in rest)]
    return "\n".join(["```", *lines, "```"])


@code_table
def sounds() -> str:
    """Returns the table of the materials of balls, which set how they bounce and ring."""
    rows = [
        [
            name,
            f"{one.restitution:.2f}",
            f"{one.density:g}",
            f"{one.base_hz:g} Hz",
            f"{1e3 * max(one.decays):.0f} ms",
        ]
        for name, one in MATERIALS.items()
    ]
    return markdown(["material", "restitution", "density", "pitch at 0.3 m", "longest decay"], rows)
