"""Verdicts: whether a clip shows what its prompt asks, fact by fact, and one-line summaries of the
oracles' readings.

A family of scenes (`worlds.playhouse.families`), such as `room`, parses the prompt into facts and
compares them with the readings. Each fact gives a line. A clip meets its prompt if every line that
an oracle can read is met. For rooms this agrees with "all" of `oracles.facts.compare`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

from sora_jax.oracles.evidence import Evidence
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.sync import match
from sora_jax.worlds.playhouse.captions import END, CaptionError, word_hint
from sora_jax.worlds.playhouse.families import FAMILIES, base
from sora_jax.worlds.playhouse.families.base import Line

MOST_TIMES = 20  # impacts whose times are listed; more are only counted
EXAMPLE = "a large red ball is dropped and bounces twice"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a clip shows what its prompt describes.

    Attributes:
        met: True if all facts that are read agree with the prompt, False if one does not; None if
            undecided.
        lines: every fact with its prompted and its read value. Default: none.
        family: name of the family of scenes that parsed the prompt; None if none did.
        reason: why `met` is None. Default: None.
    """

    met: bool | None
    lines: tuple[Line, ...] = ()
    family: str | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the verdict as JSON values. Keys: "met", "family"; "facts", a list of the lines
        with their fields, unless `met` is None and there are none; "reason" if `met` is None.
        """
        values: dict[str, Any] = {"met": self.met, "family": self.family}
        if self.met is None:
            values["reason"] = self.reason
        if self.met is not None or self.lines:
            values["facts"] = [dataclasses.asdict(line) for line in self.lines]
        return values


def judge_prompt(prompt: str, reading: Reading, families: Sequence[str] = ()) -> Verdict:
    """Returns whether a clip shows what a prompt describes, as judged by the first family of scenes
    that can parse the prompt. If none can, the verdict is undecided and holds the reason.

    Args:
        prompt: the caption that the clip should show.
        reading: readings of the clip.
        families: names of the families that the model was trained on, which are tried first; the
            others follow in the order of FAMILIES. Default: none.
    """
    if not prompt.strip():
        return Verdict(None, reason="the prompt is empty")
    for name in families:
        if name not in FAMILIES:
            return Verdict(
                None,
                reason=f"the model was trained on family {name!r}, which is not registered here; "
                "import the module that registers it",
            )
    try:
        name, facts = parse_prompt(prompt, families)
    except CaptionError as error:
        return Verdict(None, reason=_no_sentence(prompt, error))
    return _verdict(name, FAMILIES[name].judge(facts, cast(base.Reading, Evidence(reading))))


def parse_prompt(prompt: str, families: Sequence[str] = ()) -> tuple[str, Any]:
    """Returns (family, facts) of a prompt, of the first family that can parse it.

    Args:
        prompt: the caption.
        families: names in FAMILIES that are tried first. Default: none.

    Raises:
        CaptionError: no family can parse the prompt. The error is that of the family that reads
            the longest part of it.
    """
    farthest: CaptionError | None = None
    for name in dict.fromkeys([*families, *FAMILIES]):
        try:
            return name, FAMILIES[name].parse(prompt)
        except CaptionError as error:
            if farthest is None or error.column > farthest.column:
                farthest = error
    assert farthest is not None  # FAMILIES is not empty
    raise farthest


def _no_sentence(prompt: str, error: CaptionError) -> str:
    """Returns why a prompt cannot be judged: what was expected where, if much of it was read.

    The hints of unknown words are those of the notes on a request.
    """
    known = {word for family in FAMILIES.values() for word in family.words}
    read, hint = prompt[: error.column - 1].split(), word_hint(error.found, known)
    if len(read) > 1 or (read and (hint or error.found in known)):
        found = error.found if error.found == END else repr(error.found)
        return (
            "the prompt is no sentence that the world knows: after "
            f"{' '.join(read[-3:])!r}, expected {error.expected}, found {found}{hint}"
        )
    words = dict.fromkeys(word.strip(",.;:!?") for word in prompt.lower().split())
    hinted = {w: word_hint(w, known) for w in words if w not in known or w.isdigit()}
    listed = ", ".join(f"{word}{hint}" for word, hint in hinted.items() if hint)
    return (
        f"the prompt is no sentence that the world knows{f': {listed}' if listed else ''}; "
        f"write for example {EXAMPLE!r}"
    )


def _verdict(family: str, lines: list[Line]) -> Verdict:
    """Returns the verdict that follows from a family's lines; undecided if no line is read."""
    read = [line.met for line in lines if line.met is not None]
    if not read:
        return Verdict(None, tuple(lines), family, "no oracle reads any of its facts")
    return Verdict(all(read), tuple(lines), family)


def say_balls(reading: Reading) -> str:
    """Returns a line of text that describes the detected balls of a clip, such as "small red thrown
    right, 1 bounce (found once in 100% of frames)".
    """
    shares = {track.colour: track.found.mean() for track in reading.tracks}
    descriptions = []
    for ball in reading.facts.balls:
        description = " ".join(
            word
            for word in (ball.size, ball.colour, ball.launch, ball.direction)
            if word is not None
        )
        bounces = {0: "no bounce seen", 1: "1 bounce"}.get(ball.bounces, f"{ball.bounces} bounces")
        descriptions.append(
            f"{description}, {bounces} (found once in {shares[ball.colour]:.0%} of frames)"
        )
    return "; ".join(descriptions) or "no ball"


def say_impacts(reading: Reading) -> str:
    """Returns a line of text that describes the detected impacts of a clip: the times of the
    visible and of the audible ones, and how many of them match or why none can.
    """
    parts = []
    for name, times in (("seen", reading.seen_impacts), ("heard", reading.heard_impacts)):
        if len(times) > MOST_TIMES:
            parts.append(f"{len(times)} impacts {name}")
        elif times:
            parts.append(f"impacts {name} at {' '.join(f'{t:.2f}' for t in times)} s")
        else:
            parts.append(f"no impact {name}")
    if reading.sync_fault:
        if reading.seen_impacts or reading.heard_impacts or reading.samples is None:
            parts.append(f"their agreement is not scored: {reading.sync_fault}")
        return "; ".join(parts)
    pairs = len(match(reading.heard_impacts, reading.seen_impacts, 0.1))
    unmatched = [
        f"{len(times) - pairs} {name}"
        for name, times in (("seen", reading.seen_impacts), ("heard", reading.heard_impacts))
        if len(times) > pairs
    ]
    if not pairs:
        parts.append(f"unmatched: {' and '.join(unmatched)}")
    else:
        rest = f", unmatched: {' and '.join(unmatched)}" if unmatched else ""
        parts.append(f"{pairs} agree to 100 ms (F1 {reading.sync.f1_100ms:.2f}){rest}")
    return "; ".join(parts)
