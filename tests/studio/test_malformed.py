"""Requests that break the OpenAPI document: status 4xx on one line, and nothing of them stays."""

import pytest
import sqlalchemy as sa
from malformed import generate, operations

from sora_jax.studio.database.tables import metadata

GROWING = [table for table in metadata.sorted_tables if table.name not in ("meta", "workers")]


def state(shared):
    """The rows of each table, and the files of the media store."""
    media = shared.studio.media.folder
    with shared.studio.store.engine.connect() as connection:
        rows = {
            table.name: connection.execute(
                sa.select(sa.func.count()).select_from(table)
            ).scalar_one()
            for table in GROWING
        }
    return rows, {path.relative_to(media) for path in media.rglob("*") if path.is_file()}


def attack(shared, count, seed):
    document = shared.call("GET", "/openapi.json").json()
    before, seen = state(shared), set()
    for method, path, request in generate(document, count, seed):
        answer = shared.call(method, path, **request)
        what = (method, path[:200], str(request)[:300], answer.status_code, answer.text[:300])
        assert 400 <= answer.status_code < 500, what
        error = answer.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}, what
        assert error["message"] and "\n" not in error["message"], what
        seen.add(answer.status_code)
    assert state(shared) == before
    return seen


def test_fifty_malformed_requests(shared):
    assert len(list(operations(shared.call("GET", "/openapi.json").json()))) >= 26
    assert {400, 404, 405} <= attack(shared, 50, 0)


@pytest.mark.slow
def test_a_thousand_malformed_requests(shared):
    assert {400, 404, 405} <= attack(shared, 1_000, 1)
