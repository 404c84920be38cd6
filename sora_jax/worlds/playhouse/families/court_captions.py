"""Facts and captions of family `court` (throws, shots, jumps), and the parser of captions.

A caption states the attempted action, then its outcome. An intent states the action alone.

    caption = intent joint result           intent = "a" size colour noun attempt

A result is one of the phrases of an outcome in RESULTS. The last phrase of every table is held out:
only the split `paraphrase` uses it. `parse` reads all phrases; a text without a result is an
intent. A variant number selects the phrases, so a caption is a pure function of (facts, variant).
"""

import dataclasses

from sora_jax.worlds.playhouse.captions import NOUNS, Picker, Reader
from sora_jax.worlds.playhouse.spec import COLOURS, DIRECTIONS, SIZES

ACTIONS = ("throw", "shot", "jump")
OUTCOMES = {
    "throw": ("swish", "rim-in", "bank-in", "rim-out", "board-out", "short", "airball"),
    "shot": ("in", "saved", "post"),
    "jump": ("lands", "falls"),
}
ATTEMPTS = {
    "throw": (
        "is thrown to the {d} at the hoop",
        "is thrown at the hoop on the {d}",
        "flies to the {d} towards the hoop",
        "is shot {d} at the hoop",
    ),
    "shot": (
        "is kicked to the {d} at the goal",
        "is kicked at the goal on the {d}",
        "flies to the {d} towards the goal",
        "is fired {d} at the goal",
    ),
    "jump": (
        "rolls to the {d} towards the gap",
        "rolls {d} at the gap",
        "is rolled to the {d} over the edge",
        "tries to jump the gap to the {d}",
    ),
}
RESULTS = {
    "swish": (
        "goes straight in",
        "drops through without touching the rim",
        "falls clean through the net",
    ),
    "rim-in": (
        "hits the rim and drops in",
        "bounces off the rim and goes in",
        "rattles in off the rim",
    ),
    "bank-in": (
        "hits the board and drops in",
        "bounces off the board and goes in",
        "banks in off the board",
    ),
    "rim-out": (
        "hits the rim and bounces away",
        "bounces off the rim and misses",
        "rattles out off the rim",
    ),
    "board-out": (
        "hits the board and bounces away",
        "bounces off the board and misses",
        "comes back off the board",
    ),
    "short": ("falls short", "drops in front of the hoop", "does not reach the rim"),
    "airball": ("flies over the board", "goes too far and misses", "sails over everything"),
    "in": ("goes in", "lands in the net", "scores a goal"),
    "saved": ("is saved", "is stopped by the keeper", "bounces off the keeper"),
    "post": ("hits the bar and comes back", "bounces off the bar", "strikes the bar and stays out"),
    "lands": ("lands on the other side", "makes it over the gap", "clears the gap"),
    "falls": ("falls into the gap", "does not make it across", "drops between the platforms"),
}
JOINTS = (". It ", " and ", " but ", ", then it ")
FAILURES = {"rim-out", "board-out", "short", "airball", "saved", "post", "falls"}


@dataclasses.dataclass(frozen=True)
class CourtFacts:
    """The facts that a caption states about a clip of family `court`, and its regime.

    Attributes:
        colour: colour of the ball, a name in COLOURS.
        size: size of the ball, "small" or "large".
        action: "throw", "shot" or "jump".
        outcome: name of the outcome, one of OUTCOMES[action]; "" for an intent.
        direction: side of the target, "left" or "right".
        regime: "usual" (default) or a split `ood_...`; captions do not state it.
    """

    colour: str
    size: str
    action: str
    outcome: str
    direction: str
    regime: str = "usual"

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "CourtFacts":
        """Returns the facts of `fields`, the result of `to_dict`."""
        return cls(**fields)

    def key(self) -> str:
        """Returns the facts that decide the split of a take, as one string."""
        return (
            f"{self.colour} {self.size} {self.action} {self.outcome} {self.direction} {self.regime}"
        )


def _intent(facts: CourtFacts, pick: Picker) -> str:
    return (
        f"a {facts.size} {facts.colour} {pick.any(NOUNS)} "
        f"{pick.phrase(ATTEMPTS[facts.action]).format(d=facts.direction)}"
    )


def intent(facts: CourtFacts, variant: int = 0, held_out: bool = False) -> str:
    """Returns a text of the attempted action, without its outcome.

    Args:
        facts: the facts.
        variant: any non-negative integer, which selects the paraphrase. Default 0.
        held_out: True for the phrases that only the split `paraphrase` uses. Default False.
    """
    return _intent(facts, Picker(variant, held_out))


def caption(facts: CourtFacts, variant: int = 0, held_out: bool = False) -> str:
    """Returns the caption of facts.

    Args:
        facts: the facts.
        variant: any non-negative integer, which selects the paraphrase. Default 0.
        held_out: True for the phrases that only the split `paraphrase` uses. Default False.
    """
    pick = Picker(variant, held_out)
    text = _intent(facts, pick)
    joint = pick.any(JOINTS if facts.outcome in FAILURES else JOINTS[:2])
    return f"{text}{joint}{pick.phrase(RESULTS[facts.outcome])}"


_ATTEMPTS = {
    (action, d): tuple(p.format(d=d) for p in phrases)
    for action, phrases in ATTEMPTS.items()
    for d in DIRECTIONS
}


def parse(text: str) -> CourtFacts:
    """Returns the facts of a caption, or of an intent, whose outcome is "".

    Raises:
        CaptionError: the text is neither. The message says the column and what was expected there.
    """
    reader = Reader(text)
    size, colour = reader.ball()
    action, direction = reader.phrase(
        _ATTEMPTS, "an attempt such as 'is thrown to the left at the hoop'"
    )
    outcome = ""
    if not reader.ended:
        while reader.skip(("and", "but", "then", "it")):
            pass
        outcome = reader.phrase(
            {o: RESULTS[o] for o in OUTCOMES[action]},
            f"an outcome such as {RESULTS[OUTCOMES[action][0]][0]!r}",
        )
        reader.finish()
    return CourtFacts(colour, size, action, outcome, direction)


_PHRASES = [phrase for phrases in (*_ATTEMPTS.values(), *RESULTS.values()) for phrase in phrases]
WORDS = tuple(
    sorted({*" ".join(_PHRASES).split(), "a", "and", "but", "it", "then", *NOUNS, *COLOURS, *SIZES})
)
