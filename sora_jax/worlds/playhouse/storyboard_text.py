"""The text of storyboards (stories written shot by shot): phrases, and two written forms.

    cards   [STYLE anime | AMBIENCE rain | CAST @mika, @rolo | BALL red]
            [SHOT 1 | 2 s | wide | pan left | room a] @mika throws the ball to @rolo.
            [SHOT 2 | 2 s | close-up on @rolo | static | room a] @rolo says "two".
    prose   In anime style, rain falls, with @mika and @rolo and a red ball. First, a wide shot in
            room a, the camera pans to the left: @mika throws the ball to @rolo. Cut to a close-up
            of @rolo, who says "two".

A variant number selects the phrases, so a text is a pure function of (storyboard, variant).
The last phrase of every table is held out: only texts of the split `paraphrase` have it. The parser
(`storyboard_reader.py`) knows all phrases.
"""

import hashlib

from sora_jax.worlds.playhouse import voice
from sora_jax.worlds.playhouse.captions import Picker
from sora_jax.worlds.playhouse.cast import NAMES
from sora_jax.worlds.playhouse.spec import COLOURS, DIRECTIONS
from sora_jax.worlds.playhouse.storyboard import (
    DOOR,
    GO,
    HAT,
    IDLE,
    LAMP,
    LOOK,
    PLACES,
    SAY,
    SECONDS,
    TARGETS,
    THROW,
    WALK,
    Act,
    Shot,
    Storyboard,
)

STYLE_PHRASES = {
    "flat": ("in flat colours", "drawn in flat colours", "in plain colours"),
    "realistic": ("in realistic style", "looking real", "as in real life"),
    "cinematic": ("in cinematic style", "like a film", "as in the cinema"),
    "anime": ("in anime style", "drawn as anime", "as an anime"),
}
AMBIENCE_PHRASES = {
    "wind": ("the wind blows", "with wind outside", "in the wind"),
    "hum": ("something hums", "with a hum", "over a low hum"),
    "rain": ("rain falls", "with rain outside", "in the rain"),
    "crickets": ("crickets sing", "with crickets outside", "among crickets"),
}
CAST_PHRASES = {
    1: ("with {a}", "{a} is here", "about {a}"),
    2: ("with {a} and {b}", "{a} and {b} are here", "about {a} and {b}"),
}
BALL_PHRASES = ("and a {c} ball", "there is a {c} ball", "the ball is {c}")
FIRST_PHRASES = ("first", "at first", "to begin")
CUT_PHRASES = ("cut to", "next", "after a cut", "in the next shot")
LATER_PHRASES = ("later", "after that", "on")  # after "N seconds"
LASTING_PHRASES = ("for", "lasting", "taking")  # before "N seconds"
FRAME_PHRASES = {
    "wide": ("a wide shot", "wide", "all of the place"),
    "two-shot": ("a two-shot", "both in one picture", "the two of them"),
    "close-up": ("a close-up of {a}", "close on {a}", "the face of {a}"),
}
PLACE_PHRASES = ("in {p}", "inside {p}", "within {p}")
MOVE_PHRASES = {
    "static": ("the camera stands still", "from a fixed camera", "with a still camera"),
    "pan left": ("the camera pans to the left", "panning left", "the camera turns left"),
    "pan right": ("the camera pans to the right", "panning right", "the camera turns right"),
    "push in": ("the camera pushes in", "closing in", "the camera comes closer"),
    "pull out": ("the camera pulls out", "drawing back", "the camera backs off"),
}
_SWITCH = ("switches the lamp {s}", "turns {s} the lamp", "puts the lamp {s}")
_GO = ("goes to {p}", "leaves for {p}", "walks over to {p}")
# {kind of act: {its `to`: phrases}}; {b} is the handle of another actor
ACT_PHRASES = {
    IDLE: {"": ("waits", "stands there", "does nothing")},
    LOOK: {d: (f"looks {d}", f"looks to the {d}", f"glances {d}") for d in DIRECTIONS},
    WALK: {d: (f"walks {d}", f"walks to the {d}", f"strolls {d}") for d in DIRECTIONS},
    GO: {place: tuple(p.format(p=place) for p in _GO) for place in PLACES},
    THROW: {
        "": (
            "throws the ball to {b}",
            "tosses the ball to {b}",
            "throws {b} the ball",
            "lobs the ball to {b}",
        )
    },
    LAMP: {s: tuple(p.format(s=s) for p in _SWITCH) for s in TARGETS[LAMP]},
    DOOR: {
        "open": ("opens the door", "pulls the door open", "swings the door open"),
        "closed": ("closes the door", "shuts the door", "pushes the door shut"),
    },
    HAT: {"on": ("puts on a hat", "puts a hat on", "dons a hat")},
    SAY: {"": ("says", "calls", "speaks")},
}
OUTCOME_PHRASES = {
    "caught": ("catches it", "catches the ball", "takes it from the air"),
    "missed": ("misses it", "does not catch it", "lets it fall"),
}
JOINTS = (". ", ", then ", " and ", "; ")
JOINT_WORDS = ("then", "and")


def picker(variant: int, held_out: bool = False) -> Picker:
    """Returns a `Picker`, which chooses the phrases of a text.

    It hashes the variant to 1,024 bits, which are enough for the many choices of a storyboard.

    Args:
        variant: any non-negative integer, which selects the paraphrase.
        held_out: True for the phrases that only the split `paraphrase` uses. Default False.
    """
    digest = b"".join(hashlib.sha256(f"{variant}/{i}".encode()).digest() for i in range(4))
    return Picker(int.from_bytes(digest, "big"), held_out)


def write(board: Storyboard, variant: int = 0, held_out: bool = False, cards: bool = False) -> str:
    """Returns a storyboard as text.

    Args:
        board: the storyboard.
        variant: number of the paraphrase, any non-negative integer. Default: 0.
        held_out: True for the phrases that only the split `paraphrase` uses. Default: False.
        cards: True for cards. Default: False, prose.
    """
    pick = picker(variant, held_out)
    return (_cards if cards else _prose)(board, pick)


def _cards(board: Storyboard, pick: Picker) -> str:
    ball = f" | BALL {board.ball}" if board.ball else ""
    parts = [
        f"[STYLE {board.style} | AMBIENCE {board.ambience} | CAST {', '.join(board.cast)}{ball}]"
    ]
    for number, shot in enumerate(board.shots, 1):
        frame = f"close-up on {shot.subject}" if shot.frame == "close-up" else shot.frame
        later = [f"{shot.later:g} s later"] if shot.later else []
        fields = [f"SHOT {number}", f"{shot.seconds:g} s", *later, frame, shot.move, shot.place]
        parts.append(f"[{' | '.join(fields)}]")
        if shot.acts:
            parts.append(_sentences(shot, pick, ""))
    return " ".join(parts)


def _prose(board: Storyboard, pick: Picker) -> str:
    cast = pick.phrase(CAST_PHRASES[len(board.cast)]).format(
        **dict(zip("ab", board.cast, strict=False))
    )
    head = [pick.phrase(STYLE_PHRASES[board.style]), pick.phrase(AMBIENCE_PHRASES[board.ambience])]
    head.append(cast)
    if board.ball:
        head.append(pick.phrase(BALL_PHRASES).format(c=board.ball))
    parts, place = [_capital(", ".join(head)) + "."], None
    for shot in board.shots:
        parts.append(_shot(shot, place, pick))
        place = shot.place
    return " ".join(parts)


def _shot(shot: Shot, place: str | None, pick: Picker) -> str:
    """Writes one shot as prose. `place` is that of the shot before, None for the first shot."""
    words = [pick.phrase(FIRST_PHRASES if place is None else CUT_PHRASES)]
    if words[0] != "cut to":
        words[0] += ","
    if shot.later:
        words.append(f"{_seconds(shot.later)} {pick.phrase(LATER_PHRASES)},")
    words.append(pick.phrase(FRAME_PHRASES[shot.frame]).format(a=shot.subject))
    if place != shot.place or pick.any((False, True)):
        words.append(pick.phrase(PLACE_PHRASES).format(p=shot.place))
    if shot.seconds != SECONDS or pick.any((False, False, True)):
        words.append(f"{pick.phrase(LASTING_PHRASES)} {_seconds(shot.seconds)}")
    head = _capital(" ".join(words))
    if shot.move != "static" or pick.any((False, False, True)):
        head += f", {pick.phrase(MOVE_PHRASES[shot.move])}"
    if not shot.acts:
        return head + "."
    relative = shot.frame == "close-up" and shot.acts[0].who == shot.subject
    if relative and pick.any((False, True)):
        return f"{head}, {_sentences(shot, pick, 'who')}"
    return f"{head}: {_sentences(shot, pick, '')}"


def _sentences(shot: Shot, pick: Picker, name: str) -> str:
    """Writes the acts of a shot. `name` stands for the first actor; "" for its own handle."""
    text = ""
    for i, act in enumerate(shot.acts):
        clause = _clause(act, pick, name if i == 0 and name else act.who)
        text += clause if i == 0 else pick.any(JOINTS) + clause
    return text + "."


def _clause(act: Act, pick: Picker, name: str) -> str:
    table = ACT_PHRASES[act.kind]
    phrase = pick.phrase(table["" if act.kind == THROW else act.to]).format(b=act.to)
    if act.kind == SAY:
        return f'{name} {phrase} "{" ".join(act.words)}"'
    end = f" and {act.to} {pick.phrase(OUTCOME_PHRASES[act.outcome])}" if act.outcome else ""
    return f"{name} {phrase}{end}"


def _seconds(seconds: float) -> str:
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _vocabulary() -> tuple[str, ...]:
    """Returns every word that a storyboard can contain, as prose or as cards."""
    acts = [p for table in ACT_PHRASES.values() for p in table.values()]
    tables = [STYLE_PHRASES, AMBIENCE_PHRASES, CAST_PHRASES, FRAME_PHRASES, MOVE_PHRASES]
    phrases = [*acts, *(p for table in (*tables, OUTCOME_PHRASES) for p in table.values())]
    phrases += [BALL_PHRASES, FIRST_PHRASES, CUT_PHRASES, LATER_PHRASES, LASTING_PHRASES]
    phrases += [PLACE_PHRASES, PLACES, NAMES, COLOURS, voice.WORDS]
    words = {word for group in phrases for phrase in group for word in phrase.split()}
    words |= {*STYLE_PHRASES, *AMBIENCE_PHRASES, *JOINT_WORDS, "style", "ambience", "cast", "ball"}
    words |= {"shot", "s", "second", "seconds", "static", "pan", "push", "pull", "close", "up"}
    words |= {"two", "who", "on", "later", *map(str, range(1, 11)), "0"}
    split = {part for word in words if "{" not in word for part in word.split("-")}
    return tuple(sorted(split))


WORDS = _vocabulary()
