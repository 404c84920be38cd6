"""The gate: which characters a request may show.

Everybody may show a character of the world's own cast. Any other likeness (pictures and voice of a
character) needs a record (`records.Character`). The account that asks must be its owner or be
admitted by its grant, and the prompt must keep its restrictions. A prompt that is no storyboard
cannot be checked against restrictions, so it is refused if a character has an enforced one.
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np

from sora_jax.characters.records import Character
from sora_jax.characters.restrictions import board_of
from sora_jax.errors import UserError
from sora_jax.oracles import heads
from sora_jax.oracles.speakers import distinguishable
from sora_jax.oracles.voices import utterances, voice_of
from sora_jax.worlds.playhouse import cast, references
from sora_jax.worlds.playhouse.spec import FILM_STYLES

# account -> the accounts that it follows
Accounts = Mapping[str, Collection[str]]


class Shown(Protocol):
    """The protocol of a likeness, such as `pipelines.likeness.Likeness`."""

    @property
    def character(self) -> cast.Character | None:
        """The character of the world's cast that it shows; None for anybody else."""
        ...

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the references (`records.fingerprint`)."""
        ...


class Recorded(Protocol):
    """The protocol of a collection of records, such as `records.Records`."""

    def of_references(self, references: str) -> Character | None:
        """Returns the character whose references have this fingerprint; None if there is none."""
        ...


@functools.cache
def _cast() -> frozenset[str]:
    parts = (cast.catalogue(part, kind) for kind in cast.KINDS for part in ("train", "held_out"))
    return frozenset(one.key() for characters in parts for one in characters)


def shows(character: cast.Character, stills: np.ndarray, samples: np.ndarray | None) -> bool:
    """Returns whether references show a character of the world's cast, by its face and voice.

    The given stills are compared with stills of the character in every style, because the embedding
    of heads was fitted without the bars of the style `cinematic`.

    Args:
        character: the character.
        stills: [4, H, W, 3] in [0, 1].
        samples: [S] in [-1, 1] at 16 kHz; None without a voice.
    """
    if character.key() not in _cast():
        return False
    face, silent = heads.embed_stills(stills), dataclasses.replace(character, voice=None)
    drawn = [references.references(silent, 0, style).stills for style in FILM_STYLES]
    if min(heads.distance(heads.embed_stills(own), face) for own in drawn) >= heads.SAME:
        return False
    if samples is None or not np.any(samples):
        return True
    heard = utterances(samples)
    return bool(heard) and not distinguishable(voice_of(heard), cast.voice_of(character))


class Gate:
    """Admits or refuses the characters of a request, for one account.

    The default admits the world's own cast alone.
    """

    def __init__(
        self, account: str = "", records: Recorded | None = None, accounts: Accounts | None = None
    ) -> None:
        """Makes the gate of an account.

        Args:
            account: name of the account that asks. Default: "", nobody.
            records: the recorded characters. Default: None, no records.
            accounts: for each account the accounts that it follows. Default: None, nobody follows
                anybody.
        """
        self.account, self.records, self.accounts = account, records, accounts or {}

    def check(self, prompt: str | None, characters: Mapping[str, Shown]) -> None:
        """Admits the characters of a request, or refuses it.

        Args:
            prompt: the text of the request; None for no text.
            characters: the likeness for each name (without "@") that the prompt shows.

        Raises:
            UserError: a character has no record, is revoked, or is not granted to this account; or
                the prompt breaks a restriction, which the message names.
        """
        found = {name: self._record(name, shown) for name, shown in characters.items()}
        handles = {name: one.handle if one else name for name, one in found.items()}
        for name, one in found.items():
            if one is None:
                continue
            if one.revoked:
                raise _refused(name, f"its owner took @{one.handle} back", "give another one")
            if not self._granted(one):
                raise _refused(name, f"@{one.handle} is not granted to you", "ask its owner")
            others = {handle for other, handle in handles.items() if other != name}
            self._check_rules(name, one, prompt or "", others)

    def _record(self, name: str, shown: Shown) -> Character | None:
        """Returns the record of a likeness; None for the world's own cast, which needs none."""
        if shown.character is not None and shown.character.key() in _cast():
            return None
        found = self.records.of_references(shown.fingerprint) if self.records is not None else None
        if found is None:
            raise _refused(
                name,
                "no consent to this likeness is recorded",
                "record the character, or give one of the world's cast (experiments.cast)",
            )
        return found

    def _granted(self, one: Character) -> bool:
        if self.account == one.owner or one.grant == "everyone":
            return True
        if one.grant == "accounts":
            return self.account in one.accounts
        follows = self.accounts.get(self.account, ())
        followed = self.accounts.get(one.owner, ())
        return one.grant == "mutuals" and one.owner in follows and self.account in followed

    def _check_rules(self, name: str, one: Character, prompt: str, others: Collection[str]) -> None:
        enforced = [rule for rule in one.rules if rule.enforced]
        if not enforced:
            return
        board = board_of(prompt)
        if board is None:
            raise _refused(
                name,
                f"the prompt is no storyboard, so {enforced[0].text!r} cannot be checked",
                "give a storyboard, or a caption of a talk",
            )
        for rule in enforced:
            if not rule.allows(board, f"@{name}", others):
                raise _refused(name, f"its owner says {rule.text!r}", "change the prompt")


def _refused(name: str, reason: str, remedy: str) -> UserError:
    return UserError(f"@{name}: {reason}; {remedy}", field="characters", code="forbidden")
