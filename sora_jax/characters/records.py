"""Records of characters, one JSON file each, with the references beside it.

A folder of records has HANDLE.json and HANDLE.npz (stills and samples of the voice) for every
character. Files appear whole or not at all. They are read again at every lookup, so that a
revocation holds at once.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from sora_jax import files
from sora_jax.characters.restrictions import Restriction
from sora_jax.characters.verifier import Identity
from sora_jax.errors import UserError

GRANTS = ("nobody", "accounts", "mutuals", "everyone")
HANDLE = re.compile(r"[a-z][a-z0-9_]{1,31}")


def fingerprint(stills: np.ndarray, samples: np.ndarray | None) -> str:
    """Returns the first 12 hex digits of the sha256 of references (stills and voice).

    Args:
        stills: floats [4, H, W, 3] in [0, 1].
        samples: [S] in [-1, 1] at 16 kHz; None without a voice.
    """
    voice = b"" if samples is None else np.asarray(samples, "<f4").tobytes()
    return hashlib.sha256(np.asarray(stills, "<f4").tobytes() + voice).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Character:
    """A character that an account has recorded, and who may show it.

    Attributes:
        handle: its name among all records, without "@".
        owner: the account that recorded it.
        references: fingerprint of its stills and voice.
        identity: its face and voice as numbers.
        grant: who may show it besides the owner, one of GRANTS: "nobody" (default), the "accounts"
            named below, "mutuals" (accounts that follow the owner and are followed back), or
            "everyone".
        accounts: names of accounts, for the grant "accounts". Default: none.
        restrictions: texts on what no clip may show of it (`Restriction`). They hold for the
            owner's clips too. Default: none.
        revoked: True if no clip may show it any more. Default False.
    """

    handle: str
    owner: str
    references: str
    identity: Identity
    grant: str = "nobody"
    accounts: tuple[str, ...] = ()
    restrictions: tuple[str, ...] = ()
    revoked: bool = False

    @property
    def rules(self) -> tuple[Restriction, ...]:
        """The restrictions, parsed."""
        return tuple(Restriction.of(text) for text in self.restrictions)

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "Character":
        """Returns the character of `fields`, the result of `to_dict`."""
        identity = fields["identity"]
        identity = Identity(tuple(identity["face"]), identity["pitch"], identity["tract"])
        texts = {name: tuple(fields[name]) for name in ("accounts", "restrictions")}
        return cls(**{**fields, **texts, "identity": identity})


class Records:
    """The characters that accounts have recorded, in a folder."""

    def __init__(self, folder: str | os.PathLike) -> None:
        """Opens a folder of records, which is created if it does not exist."""
        self.folder = files.user_path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def __iter__(self) -> Iterator[Character]:
        for path in sorted(self.folder.glob("*.json")):
            yield Character.from_dict(json.loads(path.read_text(encoding="utf-8")))

    def get(self, handle: str) -> Character:
        """Returns the character with a handle, given without "@".

        Raises:
            UserError: there is no such character.
        """
        path = self.folder / f"{handle}.json"
        if not HANDLE.fullmatch(handle) or not path.is_file():
            raise UserError(
                f"no character @{handle} is recorded; give a recorded handle",
                field="handle",
                code="not_found",
            )
        return Character.from_dict(json.loads(path.read_text(encoding="utf-8")))

    def add(self, character: Character, stills: np.ndarray, samples: np.ndarray) -> None:
        """Adds a character with its references: stills [4, H, W, 3] and the samples [S] of its
        voice.

        Raises:
            UserError: the handle is taken, or has another form than HANDLE.
        """
        if not HANDLE.fullmatch(character.handle):
            raise UserError(
                f"handle {character.handle!r}; give 2 to 32 letters a to z, digits and _, a "
                "letter first",
                field="handle",
            )
        with files.locked(self.folder, "recording a character"):
            if (self.folder / f"{character.handle}.json").exists():
                raise UserError(
                    f"@{character.handle} is recorded already; choose another handle",
                    field="handle",
                )
            path = self.folder / f"{character.handle}.npz"
            with files.replacing(path) as partial, partial.open("wb") as file:
                np.savez(file, stills=stills, samples=samples)
            self._write(character)

    def references(self, handle: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the stills [4, H, W, 3] and the voice [S] of a character.

        Raises:
            UserError: there is no such character.
        """
        with np.load(self.folder / f"{self.get(handle).handle}.npz") as arrays:
            return arrays["stills"], arrays["samples"]

    def of_references(self, references: str) -> Character | None:
        """Returns the character whose references have this fingerprint; None if there is none."""
        return next((one for one in self if one.references == references), None)

    def set_grant(
        self, handle: str, owner: str, grant: str, accounts: Collection[str] = ()
    ) -> Character:
        """Changes who may show a character beside its owner, and returns the new record.

        Args:
            handle: handle of the character.
            owner: the account that asks for the change.
            grant: one of GRANTS.
            accounts: names of the accounts, only for the grant "accounts". Default: ().

        Raises:
            UserError: there is no such character, another account owns it, the grant is unknown, or
                accounts and grant do not fit.
        """
        if grant not in GRANTS or bool(accounts) != (grant == "accounts"):
            raise UserError(
                f"grant {grant!r} to {len(accounts)} accounts; give {', '.join(GRANTS)}, and "
                "accounts for the grant 'accounts' alone",
                field="grant",
            )
        return self._change(handle, owner, grant=grant, accounts=tuple(accounts))

    def restrict(self, handle: str, owner: str, restrictions: Sequence[str]) -> Character:
        """Replaces the restrictions of a character, and returns the new record. `owner` is the
        account that asks for it.

        Raises:
            UserError: there is no such character, or another account owns it.
        """
        return self._change(handle, owner, restrictions=tuple(restrictions))

    def revoke(self, handle: str, owner: str) -> Character:
        """Takes a character back for good: no new clip may show it. Returns the new record. `owner`
        is the account that asks for it.

        Raises:
            UserError: there is no such character, or another account owns it.
        """
        return self._change(handle, owner, revoked=True)

    def _change(self, handle: str, owner: str, **fields: object) -> Character:
        with files.locked(self.folder, "changing a character"):
            one = self.get(handle)
            if one.owner != owner:
                raise UserError(
                    f"@{handle} belongs to another account; ask its owner",
                    field="handle",
                    code="forbidden",
                )
            changed = Character.from_dict(one.to_dict() | fields)
            self._write(changed)
        return changed

    def _write(self, character: Character) -> None:
        text = json.dumps(character.to_dict(), indent=1) + "\n"
        files.write(self.folder / f"{character.handle}.json", text)
