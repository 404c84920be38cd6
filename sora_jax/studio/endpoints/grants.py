"""The endpoints of consent: grants (who may use a character), restrictions (what no clip may show
of it), and whom an account follows.
"""

from typing import Any

import sqlalchemy as sa

from sora_jax.characters.restrictions import Restriction
from sora_jax.studio.database import accounts, likenesses
from sora_jax.studio.database.tables import accounts as accounts_table
from sora_jax.studio.database.tables import follows
from sora_jax.studio.endpoints import bodies
from sora_jax.studio.endpoints.call import Call
from sora_jax.studio.endpoints.characters import own
from sora_jax.studio.problems import Problem, conflict, invalid, missing

MOST_RESTRICTIONS, TEXT = 32, 200  # restrictions of a character; letters of one


def listed(call: Call) -> dict[str, Any]:
    """Returns the grants of a character: who may use it besides its owner."""
    rows = likenesses.grants_of(call.studio.store, own(call).id)
    return {"object": "list", "data": [_shown(row.name or row.audience, row) for row in rows]}


def add(call: Call) -> dict[str, Any]:
    """Grants a character to an account by name, to mutuals, or to everyone."""
    bodies.check_names(call.fields, ("account",))
    row, name = own(call), bodies.text(call.fields, "account", 80, required=True) or ""
    if row.status != "verified":
        raise conflict(
            f"The character {row.id} is {row.status}; only verified ones are granted.",
            "character_not_verified",
        )
    audience = name if name in likenesses.AUDIENCES else _account(call, name, "account")
    if audience == call.account:
        raise invalid("The owner needs no grant; give another account.", "account")
    likenesses.grant(call.studio.store, row.id, audience)
    granted = likenesses.grants_of(call.studio.store, row.id)
    return _shown(name, next(one for one in granted if one.audience == audience))


def remove(call: Call) -> dict[str, Any]:
    """Takes a grant back. Unfinished jobs that it allowed fail, and finished clips are hidden."""
    row, name = own(call), call.path["account"]
    audience = name if name in likenesses.AUDIENCES else _account(call, name, None)
    if not likenesses.revoke(call.studio.store, row.id, audience):
        raise missing("grant", name)
    return {"account": name, "object": "character.grant.deleted", "deleted": True}


def restrictions(call: Call) -> dict[str, Any]:
    """Returns the restrictions of a character: what no clip may show of it."""
    return _rules(own(call).restrictions)


def restrict(call: Call) -> dict[str, Any]:
    """Replaces the restrictions of a character by a list of texts."""
    bodies.check_names(call.fields, ("restrictions",))
    row, texts = own(call), call.fields.get("restrictions")
    if not isinstance(texts, list) or len(texts) > MOST_RESTRICTIONS:
        raise invalid(
            f"The parameter 'restrictions' is no list of at most {MOST_RESTRICTIONS} texts.",
            "restrictions",
        )
    each = ({"restrictions": text} for text in texts)
    checked = [bodies.text(one, "restrictions", TEXT, required=True) for one in each]
    likenesses.change(call.studio.store, row.id, restrictions=checked)
    return _rules(checked)


def followed(call: Call) -> dict[str, Any]:
    """Returns the accounts that this one follows."""
    table = accounts_table
    asked = (
        sa.select(table.c.name, follows.c.created_at)
        .select_from(follows.join(table, table.c.id == follows.c.followed_id))
        .where(follows.c.account_id == call.account)
        .order_by(table.c.name)
    )
    with call.studio.store.engine.connect() as connection:
        rows = connection.execute(asked).all()
    return {"object": "list", "data": [_follow(row.name, row.created_at) for row in rows]}


def follow(call: Call) -> dict[str, Any]:
    """Follows an account by name. Two accounts that follow each other are mutuals."""
    bodies.check_names(call.fields, ("account",))
    name = bodies.text(call.fields, "account", 80, required=True) or ""
    other, store = _account(call, name, "account"), call.studio.store
    if other == call.account:
        raise invalid("An account does not follow itself; give another one.", "account")
    mine = sa.and_(follows.c.account_id == call.account, follows.c.followed_id == other)
    asked = sa.select(follows.c.created_at).where(mine)
    row = {"account_id": call.account, "followed_id": other, "created_at": store.clock()}
    with store.exclusive() as connection:
        if connection.execute(asked).first() is None:
            connection.execute(sa.insert(follows).values(row))
        return _follow(name, connection.execute(asked).scalar_one())


def unfollow(call: Call) -> dict[str, Any]:
    """Ends following an account."""
    name = call.path["account"]
    other = _account(call, name, None)
    mine = sa.and_(follows.c.account_id == call.account, follows.c.followed_id == other)
    with call.studio.store.engine.begin() as connection:
        if not connection.execute(sa.delete(follows).where(mine)).rowcount:
            raise missing("account", name)
    return {"account": name, "object": "follow.deleted", "deleted": True}


def _account(call: Call, name: str, param: str | None) -> str:
    """Returns the id of the account with a name.

    Raises:
        Problem: there is none. Its status is 404, or 400 if `param` names the field of the body
            that has the name.
    """
    found = accounts.of_name(call.studio.store, name)
    if found is not None:
        return found
    if param is None:
        raise missing("account", name)
    raise Problem(400, f"There is no account {name[:80]!r}.", "unknown_account", param)


def _shown(name: str, row: Any) -> dict[str, Any]:
    return {"account": name, "object": "character.grant", "created_at": int(row.created_at)}


def _follow(name: str, created_at: float) -> dict[str, Any]:
    return {"account": name, "object": "follow", "created_at": int(created_at)}


def _rules(texts: list[Any] | None) -> dict[str, Any]:
    data = [{"text": text, "enforced": Restriction.of(text).enforced} for text in texts or ()]
    return {"object": "list", "data": data}
