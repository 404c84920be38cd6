"""Tables of the documents that are made from the repository's own code and files: the words of
prompts, captions that the world draws, materials, keys of a training, losses of a short run.

`python -m benchmarks.documents` fills them, as it fills the tables of results.
"""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sora_jax
from sora_jax.config import flatten
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.tables import markdown
from sora_jax.training import metrics
from sora_jax.training.configs import read_values
from sora_jax.worlds.playhouse import captions, cast, storyboard, storyboard_text, voice
from sora_jax.worlds.playhouse.families import court_captions, film, look, occlude, talk_captions
from sora_jax.worlds.playhouse.spec import COLOURS, DIRECTIONS, MATERIALS, SIZES

ROOT = Path(__file__).parents[1]
FIRST_RUN = (
    ROOT / "docs" / "first_run.jsonl"
)  # metrics of the run that docs/guides/training.md shows
EVERY = 10  # steps between the rows of its table
COLUMNS = 78  # characters of a line of an example
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
    """Returns phrases as one cell of a table. Some begin with a comma, so none separates them."""
    return " · ".join(f"`{option.format(**OPEN).strip()}`" for option in options)


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


# The keys of a training that are changed most, with their meanings.
KEYS = {
    "data.path": "latents, or a folder of videos; empty: scenes are drawn and encoded first",
    "data.family": "family of scenes, where they are drawn",
    "data.format": "clip format, a name of `FORMATS`",
    "data.clips": "scenes that are drawn",
    "train.steps": "training steps of the whole run",
    "train.batch_size": "clips of a step",
    "train.seed": "initial weights, order of clips, noise",
    "train.log_every": "steps of a row of metrics",
    "train.checkpoint_minutes": "time between checkpoints",
    "optim.lr": "largest learning rate",
    "optim.muon": "Muon for matrices; else AdamW for all",
    "optim.warmup": "updates over which the learning rate rises",
    "optim.schedule": "then a cosine, or `wsd`: constant, and a decay at the end",
    "optim.ema": "decay of the average of the weights, which is what is kept",
    "flow.timesteps.shift": "above 1 moves the noise levels of training towards noise",
    "flow.audio_weight": "factor of the audio loss",
    "model.depth": "pairs of blocks",
    "model.width": "width of the video stream",
    "model.attention": "attention pattern",
    "validation.every": "steps between validations; 0: none",
    "sample.every": "steps between previews; 0: none",
    "mesh.fsdp": "devices over which parameters are sharded",
}


@code_table
def training_keys() -> str:
    """Returns the table of the most used keys of a training, with the values of nano's."""
    values = flatten(read_values(ROOT / "experiments" / "configs" / "playhouse_nano.py"))
    rows = [[f"`{key}`", meaning, f"`{values[key]!r}`"] for key, meaning in KEYS.items()]
    return markdown(["key", "meaning", "in `playhouse_nano.py`"], rows)


@code_table
def first_run() -> str:
    """Returns the table of the losses of the short run that the training guide shows."""
    names = ["loss", "val/loss", "video_loss", "audio_loss"]
    names += [f"video_loss_q{quarter}" for quarter in range(1, 5)]
    steps: dict[int, dict[str, float]] = {}
    for row in metrics.read(FIRST_RUN):
        steps.setdefault(int(row["step"]), {}).update(row)
    rows = [
        [str(step), *(f"{row[name]:.2f}" if name in row else "" for name in names)]
        for step, row in steps.items()
        if step % EVERY == 0
    ]
    short = [name.replace("video_loss", "video").replace("audio_loss", "audio") for name in names]
    return markdown(["step", *(name.replace("_", " ") for name in short)], rows)


@code_table
def oracle_readings() -> str:
    """Returns the table of what each oracle returns: type and meaning, from its method `read`."""
    rows = []
    for name, oracle in ORACLES.items():
        read = type(oracle).read
        kind = re.sub(r"[\w.]+\.(?=\w)", "", inspect.formatannotation(returned(read)))
        first = " ".join((inspect.getdoc(read) or "").split("\n\n")[0].split())
        kind = kind.replace(" | ", " or ")  # a bar would divide the cell
        rows.append([f"`{name}`", f"`{kind}`", first.removeprefix("Returns ").rstrip(".")])
    return markdown(["oracle", "type", "meaning"], rows)


def returned(function: Callable) -> Any:
    """Returns the annotation of what a function returns."""
    return inspect.signature(function).return_annotation
