"""The one place that decides whether an account may generate with characters.

It is asked twice: when a request is accepted, and when a worker begins to sample. Captures are not
verified yet, so no character may be used.
"""

from collections.abc import Sequence

from sora_jax.studio.problems import Problem
from sora_jax.studio.store import Store


def check(store: Store, account: str, characters: Sequence[str]) -> None:
    """Checks that an account may generate with characters now.

    Args:
        store: the database.
        account: id of the account that generates.
        characters: their ids.

    Raises:
        Problem: status 403, `character_not_verified`, for any character.
    """
    del store, account
    if characters:
        raise Problem(
            403,
            f"The character {characters[0][:80]!r} is not verified, so nothing can be generated "
            "with it.",
            "character_not_verified",
            "characters",
        )
