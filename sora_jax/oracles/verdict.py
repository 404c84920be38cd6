"""What the oracles read in a clip, for people, and whether it is what the prompt asked: every fact
of a caption, asked, seen and met.

A prompt is read and judged by a family of scenes (`worlds.playhouse.families`): the family turns
it into facts, and facts into lines. A clip meets its prompt when every line that an oracle reads is
met. For rooms this is when `oracles.facts.compare` says "all".
"""

import dataclasses
from typing import Any

from sora_jax.oracles.evidence import Evidence
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.sync import match
from sora_jax.worlds.playhouse.captions import CaptionError
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.base import Line


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a clip shows what its prompt asks.

    Attributes:
        met: None where that cannot be said; `reason` then says why.
        lines: every fact, as asked and as seen.
        family: the family that read the prompt; None where none did.
    """

    met: bool | None
    lines: tuple[Line, ...] = ()
    family: str | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: {"met": bool, "facts": [...], "family": ...}, or {"met": None, "reason": ...,
        "family": ...}, with facts where there are any.
        """
        said: dict[str, Any] = {"met": self.met, "family": self.family}
        if self.met is None:
            said["reason"] = self.reason
        if self.met is not None or self.lines:
            said["facts"] = [dataclasses.asdict(line) for line in self.lines]
        return said


def judge_prompt(prompt: str, reading: Reading, family: str | None = None) -> Verdict:
    """Whether a clip shows what `prompt` asks, by the first family that can read the prompt.

    Args:
        family: the one that the model was trained on, which is tried first; the others follow in
            the registry's order.
    """
    if not prompt.strip():
        return Verdict(None, reason="there is no prompt")
    if family is not None and family not in FAMILIES:
        return Verdict(
            None,
            reason=f"the model was trained on family {family!r}, which is not registered here; "
            "import the module that registers it",
        )
    errors: dict[str, CaptionError] = {}
    for name in dict.fromkeys([*([family] if family else []), *FAMILIES]):
        try:
            facts = FAMILIES[name].parse(prompt)
        except CaptionError as error:
            errors[name] = error
            continue
        return _verdict(name, FAMILIES[name].judge(facts, Evidence(reading)))
    name = max(errors, key=lambda name: errors[name].column)
    return Verdict(
        None, reason=f"no family reads it as a caption; {name} reads furthest: {errors[name]}"
    )


def _verdict(family: str, lines: list[Line]) -> Verdict:
    read = [line.met for line in lines if line.met is not None]
    if not read:
        return Verdict(None, tuple(lines), family, "no oracle reads any of its facts")
    return Verdict(all(read), tuple(lines), family)


def say_balls(reading: Reading) -> str:
    """The balls found, in a line."""
    found = {track.colour: track.found.mean() for track in reading.tracks}
    said = []
    for ball in reading.facts.balls:
        look = " ".join(
            word
            for word in (ball.size, ball.colour, ball.launch, ball.direction)
            if word is not None
        )
        bounces = {0: "no bounce seen", 1: "1 bounce"}.get(ball.bounces, f"{ball.bounces} bounces")
        said.append(f"{look}, {bounces} (found once in {found[ball.colour]:.0%} of frames)")
    return "; ".join(said) or "no ball"


def say_impacts(reading: Reading) -> str:
    """The impacts found, in a line; whether they agree is said only where there is something to
    agree about.
    """
    parts = []
    for name, times in (("seen", reading.seen), ("heard", reading.heard)):
        parts.append(
            f"impacts {name} at {' '.join(f'{t:.2f}' for t in times)} s"
            if times
            else f"no impact {name}"
        )
    if reading.unsynced:
        if reading.seen or reading.heard or reading.samples is None:
            parts.append(f"their agreement is not scored: {reading.unsynced}")
        return "; ".join(parts)
    pairs = len(match(reading.heard, reading.seen, 0.1))
    alone = [
        f"{len(times) - pairs} {name}"
        for name, times in (("seen", reading.seen), ("heard", reading.heard))
        if len(times) > pairs
    ]
    if not pairs:
        parts.append(f"unmatched: {' and '.join(alone)}")
    else:
        rest = f", unmatched: {' and '.join(alone)}" if alone else ""
        parts.append(f"{pairs} agree to 100 ms (F1 {reading.sync.f1_100ms:.2f}){rest}")
    return "; ".join(parts)
