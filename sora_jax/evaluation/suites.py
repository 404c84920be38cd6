"""Suites: groups of metrics of a model, with the scenes to generate and the calibrated oracle
(measurement of a clip) of each metric.

A suite is a record of three things: parts (scenes of a family, and the training data that a model
needs for them), what the model is given, and metrics. Each metric names its oracle. If
`oracles.catalogue.ORACLES` lacks that oracle, the metric has the status `NO_ORACLE`, never zero.
A row is the clips of the model, or of a baseline, for the scenes of a part.

    ask     what the model is given. "prompt": the caption; "intent": the intended action without
            its outcome, and the first frames; "frames": the first frames alone. Together with the
            caption: "first_frame"; "given_audio" or "given_video", all of it; "continued" or
            "preceded", the first or last half of the clip; "between", its first and last frames;
            "remixed", all of another clip; "edited", all but the second shot. Frames and audio are
            those of a render of the scene. "looped": the caption, and the clip is to lead back to
            its beginning
    mixed   how the floor (the score by chance) of a row is made from the row's own clips
            (`baselines.mixed`). "clips": the clips of other prompts; "frames": the clip with its
            frames permuted; "sounds": with the audio of other clips; "pieces": with its audio cut
            into pieces of 50 ms, permuted
    of      the row that the suite measures: the model, or the tokenizers' round trip

`scoreboard.py` runs suites. To add one, register a record: `SUITES.register(Suite("mine", ...))`.
"""

import dataclasses
from collections.abc import Callable

from sora_jax.evaluation import metrics, round_trip
from sora_jax.evaluation.metrics import Metric, Unscored, Value, judged, unread
from sora_jax.modality import ClipFormat
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import Example
from sora_jax.oracles.facts import KINDS, ball_facts
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.shot_facts import NAMES
from sora_jax.oracles.story_pairs import KINDS as STATES
from sora_jax.oracles.story_pairs import pairs_of
from sora_jax.registry import Registry
from sora_jax.weights import families_of
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.court import MARGIN_PX
from sora_jax.worlds.playhouse.families.story import MAX_GAP
from sora_jax.worlds.playhouse.staging import visible_cuts

NOT_TRAINED, NO_ORACLE = "not trained", "no oracle"
MODEL, ROUND_TRIP = "model", "tokenizer round trip"


def _every(take: Take, format: ClipFormat) -> bool:
    return True


def _clear(take: Take, format: ClipFormat) -> bool:
    """Returns whether the outcome of a take of family `court` is visible at the format's size."""
    return take.margin_px(format.size) >= MARGIN_PX


def _narrated(take: Take, format: ClipFormat) -> bool:
    return take.scene.narration is not None


def _cut(take: Take, format: ClipFormat) -> bool:
    """Returns whether any cut of a story changes the view."""
    return any(visible_cuts(take.facts.board))


def _shown_again(take: Take, format: ClipFormat) -> bool:
    """Returns whether a story has as many shots as the format, and shows a fact in two of them."""
    board = take.facts.board
    return len(board.shots) == len(format.shots) and bool(pairs_of(board))


def _one_launch(take: Take) -> str | None:
    """Returns the launch ("dropped", "thrown" or "rolled") of the only ball; None for several."""
    balls = ball_facts(take).balls
    return balls[0].launch if len(balls) == 1 else None


def _balls(take: Take) -> str:
    """Returns the number of balls in a caption, as text."""
    return str(len(ball_facts(take).balls))


@dataclasses.dataclass(frozen=True)
class Part:
    """The scenes of one family that a suite scores.

    Attributes:
        family: name of the family.
        splits: splits of the family; scenes are drawn from them in turns. Default: ("val",).
        trained_on: families; the model is scored only if it was trained on one of them. Default:
            (), it is not scored.
        keep: function (take, format) -> whether the scene is scored. Default: every scene.
        ask: what the model is given for these scenes. Default: "", as `Suite.ask` says.
    """

    family: str
    splits: tuple[str, ...] = ("val",)
    trained_on: tuple[str, ...] = ()
    keep: Callable[[Take, ClipFormat], bool] = _every
    ask: str = ""


@dataclasses.dataclass(frozen=True)
class Suite:
    """A group of metrics with the scenes to generate for them.

    Attributes:
        name: key in SUITES and in scores.json, and the value of --suite.
        parts: {name: part}; a suite of one part uses the name "".
        metrics: {name: metric}.
        ask: what the model is given, as the module docstring lists. Default: "prompt".
        mixed: how the clips are mixed for the floor: "clips" (default), "frames", "sounds",
            "pieces", or None for no floor.
        format: name of the clip format of the baselines where the model was not trained on what a
            part needs; else they have the format that the model learned. Default: "nano".
        of: the row that the suite measures, MODEL (default) or ROUND_TRIP.
        groups: {grouping: function of a take -> name of its group, or None}; scores are also shown
            per group. Default: {}.
    """

    name: str
    parts: dict[str, Part]
    metrics: dict[str, Metric]
    ask: str = "prompt"
    mixed: str | None = "clips"
    format: str = "nano"
    of: str = MODEL
    groups: dict[str, Callable[[Take], str | None]] = dataclasses.field(default_factory=dict)

    @property
    def ready(self) -> tuple[str, ...]:
        """The names of the metrics whose oracle is registered."""
        return tuple(
            name
            for name, metric in self.metrics.items()
            if metric.oracle is None or metric.oracle in ORACLES
        )


ROOM = {"": Part("room", trained_on=("room",))}
# values of `ask` with the caption: for a suite that scores facts, and for one that scores the
# agreement of video and audio
FROM_PICTURES = ("first_frame", "continued", "preceded", "between", "remixed")
FROM_MODALITY = ("given_audio", "given_video")
OOD = ("ood_velocity", "ood_size", "ood_velocity_size")
PHYWORLD = {
    f"{task}_{name}": Part(
        f"phyworld_{task}_30k", splits, (f"phyworld_{task}_30k", f"phyworld_{task}_300k")
    )
    for task in ("uniform", "collision", "parabola")
    for name, splits in (("id", ("val",)), ("ood", OOD))
}
SUITES: Registry[Suite] = Registry(
    "suite",
    Suite,
    [
        Suite(
            "physics",
            ROOM,
            {
                "lawful": judged("physics"),
                "gravity_error": Metric("physics", metrics.gravity),
                "rebounds_lose_speed": Metric("physics", metrics.restitution),
                "momentum_error": Metric("physics", metrics.law("momentum_error")),
                "residual": Metric("physics", metrics.law("residual_px"), "px"),
                "energy_gains": Metric("physics", metrics.law("gains"), "count"),
                "kicks": Metric("physics", metrics.law("kicks"), "count"),
                "slips": Metric("physics", metrics.law("slips"), "count"),
                "teleports": Metric("physics", metrics.law("teleports"), "count"),
            },
            mixed="frames",
        ),
        Suite(
            "failed_actions",
            {"": Part("court", trained_on=("court",), keep=_clear)},
            {"outcome_as_simulated": judged("outcome")},
            ask="intent",
        ),
        Suite(
            "permanence",
            {"": Part("occlude", trained_on=("occlude",))},
            {"kept": judged("permanence")},
            ask="intent",
            mixed="frames",
        ),
        Suite(
            "styles",
            {"": Part("film", trained_on=("film",))},
            {"style": judged("style"), "camera": judged("camera")},
        ),
        Suite(
            "sync",
            ROOM,
            {
                "f1_100ms": Metric("sync", metrics.sync("f1_100ms"), "F1", corrected=True),
                "f1_50ms": Metric("sync", metrics.sync("f1_50ms"), "F1", corrected=True),
                "offset": Metric("sync", metrics.sync("offset"), "ms"),
            },
            mixed="sounds",
        ),
        Suite(
            "sound",
            ROOM,
            {
                "impacts_heard": Metric("onsets_audio", metrics.heard),
                "one_material": Metric("material", metrics.one_material),
                "faster_is_louder": Metric("loudness", metrics.louder),
            },
            mixed="pieces",
        ),
        Suite(
            "speech",
            {"": Part("film", trained_on=("film",), keep=_narrated)},
            {"words": judged("words"), "word_error_rate": Metric("words", metrics.word_errors)},
        ),
        Suite(
            "dialogue",
            {"": Part("talk", trained_on=("talk",))},
            {
                "words": judged("words"),
                "word_error_rate": Metric("words", metrics.word_errors),
                "lips": judged("lips"),
                "lips_offset": Metric("lips", metrics.lips_offset, "ms"),
                "speakers": judged("speakers"),
            },
            mixed="sounds",
            format="S",
        ),
        Suite(
            "likeness",
            {"": Part("talk", ("identity",), trained_on=("talk",))},
            {
                "rank_1": judged("identity"),
                "verified": Metric("identity", metrics.verified),
                "taken_for_others": Metric("identity", metrics.taken_for_others),
                "voice": Metric("speakers", metrics.voice),
            },
            format="S",
        ),
        Suite(
            "soundscape",
            {"": Part("talk", trained_on=("talk",))},
            {"ambience": judged("ambience")},
            format="S",
        ),
        Suite(
            "stories",
            {"": Part("story", trained_on=("story",), keep=_cut)},
            {
                "cuts": judged("cuts"),
                "shots": judged("shots"),
                "order": Metric("shots", metrics.order),
            }
            | {name: Metric("shots", metrics.shot_fact(name)) for name in NAMES},
            mixed="frames",
            format="story3",
        ),
        Suite(
            "persistence",
            {
                "": Part(
                    "story",
                    ("val", *(f"gap_{n}" for n in range(1, MAX_GAP + 1))),
                    trained_on=("story",),
                    keep=_shown_again,
                )
            },
            {"all": judged("state")}
            | {kind: Metric("state", metrics.persists(kind)) for kind in STATES}
            | {f"gap_{n}": Metric("state", metrics.persists(gap=n)) for n in range(MAX_GAP + 1)},
            format="story3",
        ),
        Suite(
            "facts",
            ROOM,
            {kind: Metric("facts", metrics.fact(kind)) for kind in (*KINDS, "all")}
            | {
                "all_one_ball": Metric("facts", metrics.all_one_ball),
                "tracked_frames": Metric("tracker", metrics.tracked_frames),
            },
            groups={"balls": _balls, "launch": _one_launch},
        ),
        Suite(
            "conditional",
            {ask: Part("room", trained_on=("room",), ask=ask) for ask in FROM_PICTURES},
            {"facts": Metric("facts", metrics.fact("all"))},
        ),
        Suite(
            "conditional_sync",
            {ask: Part("room", trained_on=("room",), ask=ask) for ask in FROM_MODALITY},
            {"f1_100ms": Metric("sync", metrics.sync("f1_100ms"), "F1", corrected=True)},
            mixed="sounds",
        ),
        Suite(
            "edits",
            {"": Part("story", trained_on=("story",), keep=_cut)},
            {"shots": judged("shots"), "state": judged("state")},
            ask="edited",
            mixed="frames",
            format="story3",
        ),
        Suite(
            "loops",
            ROOM,
            {"seam": Metric(None, metrics.seam, "steps")},
            ask="looped",
            mixed=None,
        ),
        Suite(
            "tokenizers",
            ROOM,
            {
                name: Metric(oracle, read, unit)
                for name, (oracle, read, unit) in round_trip.METRICS.items()
            },
            mixed=None,
            of=ROUND_TRIP,
        ),
        Suite(
            "phyworld",
            PHYWORLD,
            {
                "error": Metric(
                    "motion", metrics.motion(0, "no ball is found in a scored step"), "units/s"
                ),
                "lost": Metric("motion", metrics.motion(1, "")),
            },
            ask="frames",
            format="phyworld",
        ),
    ],
)


def values(suite: Suite, clip: Example, reading: Reading) -> dict[str, Value]:
    """Returns {metric: value} of one clip, for every metric of a suite whose oracle is registered.

    Args:
        suite: the suite.
        clip: the clip, with the take of its prompt.
        reading: the oracles' readings of the clip.
    """
    found = {}
    for name in suite.ready:
        reason = unread(suite.metrics[name].oracle, reading)
        found[name] = Unscored(reason) if reason else suite.metrics[name].read(clip, reading)
    return found


def trained(part: Part, data: dict) -> bool:
    """Returns whether a model was trained on what a part of a suite needs: its training data name
    one of the families `part.trained_on`.

    Args:
        part: the part.
        data: the entry "data" of the model card, which describes the training data.
    """
    return not set(families_of({"data": data})).isdisjoint(part.trained_on)
