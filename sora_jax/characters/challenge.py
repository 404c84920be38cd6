"""Challenges: phrases that are drawn a moment before an account records itself saying them, so that
no old recording can be used.
"""

import dataclasses
import random
import secrets
import time
from collections.abc import Callable

from sora_jax.errors import UserError
from sora_jax.worlds.playhouse.voice import WORDS

PHRASE = 3  # words of a challenge
VALID_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Challenge:
    """A phrase that an account is asked to say.

    Attributes:
        number: identifier of the challenge, 32 random hex digits, which nobody can guess.
        account: the account that asked for it.
        words: the phrase, names in `voice.WORDS`, all different.
        issued: when it was drawn, in seconds of the clock.
    """

    number: str
    account: str
    words: tuple[str, ...]
    issued: float


def draw_phrase(rng: random.Random) -> tuple[str, ...]:
    """Returns PHRASE different words, drawn by `rng`."""
    return tuple(rng.sample(list(WORDS), PHRASE))


class Challenges:
    """Open challenges. Each is valid for VALID_SECONDS, for one account, and once."""

    def __init__(
        self, clock: Callable[[], float] = time.time, rng: random.Random | None = None
    ) -> None:
        """Starts without an open challenge.

        Args:
            clock: function that returns the time in seconds. Default: that of the system.
            rng: draws the words. Default: None, the random numbers of the system.
        """
        self._clock, self._rng = clock, rng or secrets.SystemRandom()
        self._open: dict[str, Challenge] = {}

    def issue(self, account: str) -> Challenge:
        """Returns a new challenge for an account, and forgets those that are too old."""
        now = self._clock()
        self._open = {n: one for n, one in self._open.items() if now - one.issued <= VALID_SECONDS}
        one = Challenge(secrets.token_hex(16), account, draw_phrase(self._rng), now)
        self._open[one.number] = one
        return one

    def redeem(self, number: str, account: str) -> Challenge:
        """Returns a challenge and closes it, so that it cannot be used again.

        Raises:
            UserError: it is unknown or used, of another account, or older than VALID_SECONDS.
        """
        one = self._open.get(number)
        if one is None or one.account != account:
            raise UserError(
                "this challenge is unknown or was used already; ask for a new one",
                field="challenge",
                code="challenge",
            )
        del self._open[number]
        if (age := self._clock() - one.issued) > VALID_SECONDS:
            raise UserError(
                f"this challenge is {age:.0f} s old and was valid for {VALID_SECONDS:.0f} s; ask "
                "for a new one",
                field="challenge",
                code="challenge",
            )
        return one
