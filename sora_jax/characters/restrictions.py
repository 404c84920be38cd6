"""Restrictions of an owner: predicates over the storyboard of a prompt (its facts, shot by shot).

    not with @x         @x is not in the same clip
    no WHAT             WHAT is a style, a place, or what the character itself would do
    only WHAT           WHAT is a style or a place, and the clip shows no other one
    never says WORD     the character does not say the word

A text of another form is kept and shown as *not enforced*. Styles are those of FILM_STYLES, places
those of PLACES ("room a"), acts keys of TARGETS or "throw", and words those of `voice.WORDS`.
"""

import dataclasses
import re
from collections.abc import Collection

from sora_jax.worlds.playhouse.captions import CaptionError
from sora_jax.worlds.playhouse.families import talk_captions
from sora_jax.worlds.playhouse.spec import FILM_STYLES
from sora_jax.worlds.playhouse.storyboard import (
    PLACES,
    SAY,
    TARGETS,
    THROW,
    Act,
    Shot,
    Storyboard,
)
from sora_jax.worlds.playhouse.storyboard_reader import StoryboardError, read
from sora_jax.worlds.playhouse.voice import WORDS

ACTS = (*TARGETS, THROW)
_FORM = re.compile(r"(not with|no|only|never says) (@?[\w ]+)")
_VALUES = {
    "no": (*FILM_STYLES, *PLACES, *ACTS),
    "only": (*FILM_STYLES, *PLACES),
    "never says": tuple(WORDS),
}


@dataclasses.dataclass(frozen=True)
class Restriction:
    """What an owner forbids.

    Attributes:
        text: as the owner wrote it.
        form: "not with", "no", "only" or "never says". Default "": a text that is not enforced.
        value: what follows the form: a handle without "@", a style, a place, an act or a word.
            Default "".
    """

    text: str
    form: str = ""
    value: str = ""

    @classmethod
    def of(cls, text: str) -> "Restriction":
        """Returns the restriction that a text states; one that is not enforced for any other text.
        Upper case and spaces do not matter.
        """
        plain = " ".join(text.lower().split()).rstrip(".")
        if not (found := _FORM.fullmatch(plain)):
            return cls(text)
        form, value = found.groups()
        if form == "not with":
            known = value.startswith("@") and value[1:].isidentifier()
            return cls(text, form, value[1:]) if known else cls(text)
        return cls(text, form, value) if value in _VALUES[form] else cls(text)

    @property
    def enforced(self) -> bool:
        """Whether the restriction is a predicate; any other text is shown as not enforced."""
        return bool(self.form)

    def __str__(self) -> str:
        return self.text if self.enforced else f"{self.text} (not enforced)"

    def allows(self, board: Storyboard, who: str, others: Collection[str]) -> bool:
        """Returns whether a storyboard keeps the restriction; True for one that is not enforced.

        Args:
            board: the storyboard.
            who: name of the restricted character in it, with "@".
            others: handles of the other characters that it shows, without "@".
        """
        acts = [act for shot in board.shots for act in shot.acts if act.who == who]
        places = {shot.place for shot in board.shots}
        if self.form == "not with":
            return self.value not in others
        if self.form == "never says":
            return not any(self.value in act.words for act in acts if act.kind == SAY)
        shown = {board.style} if self.value in FILM_STYLES else places
        if self.form == "only":
            return shown == {self.value}
        if self.form == "no" and self.value in ACTS:
            return not any(act.kind == self.value for act in acts)
        return self.form != "no" or self.value not in shown


def board_of(prompt: str) -> Storyboard | None:
    """Returns the storyboard that a prompt states; None for any other text.

    A caption of the family `talk` becomes a storyboard of one shot without a place.
    """
    try:
        return read(prompt)
    except StoryboardError:
        pass
    try:
        facts = talk_captions.parse(prompt)
    except CaptionError:
        return None
    cast = tuple(f"@{name}" for name in facts.names)
    acts = tuple(Act(cast[i], SAY, words=words) for i, words in facts.lines)
    return Storyboard(facts.style, facts.ambience, cast, (Shot("", acts=acts),))
