"""Keys, the open server on loopback, and the limits of a key."""

import pytest
from studio_parts import PROMPT, refused

from sora_jax.errors import UserError
from sora_jax.studio.database import accounts, jobs

VIDEOS = "/v1/videos"
LATE = ("kind", "model", "prompt", "seconds", "size", "request", "batch_key")


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def keys(bench):
    """Keys of two accounts."""
    return [accounts.new_key(bench.studio.store, name) for name in ("mika", "rolo")]


def create(bench, key, **fields):
    body = {"prompt": PROMPT, **fields}
    return bench.call("POST", VIDEOS, json=body, headers=bearer(key))


def test_without_a_key_every_request_of_this_machine_is_local(bench):
    assert bench.call("GET", VIDEOS).status_code == 200
    assert bench.call("GET", VIDEOS, headers=bearer("any")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},  # DNS rebinding
        {"origin": "https://evil.example"},  # a form of another page
        {"origin": "null"},
        {"host": ""},
    ],
)
def test_without_a_key_no_other_page_gets_in(bench, headers):
    answer = bench.call("POST", VIDEOS, data={"prompt": PROMPT}, headers=headers)
    assert "--new_key=NAME" in refused(answer, 403, "not_local")


def test_keys_are_needed_once_one_exists(bench, keys):
    for headers in ({}, bearer("sk-sora-wrong"), bearer(keys[0][:-1]), bearer("\u00e9".encode())):
        refused(bench.call("GET", VIDEOS, headers=headers), 401, "invalid_api_key")
    assert bench.call("GET", VIDEOS, headers=bearer(keys[0])).status_code == 200
    assert bench.call("GET", VIDEOS, headers={"authorization": keys[0]}).status_code == 401


def test_an_account_sees_its_own_videos(bench, keys):
    """Those of another do not exist for it, and neither do its characters."""
    video = create(bench, keys[0]).json()
    bench.worker.work()
    path, other = f"{VIDEOS}/{video['id']}", bearer(keys[1])
    assert bench.call("GET", path, headers=bearer(keys[0])).json()["status"] == "completed"
    requests = [
        ("GET", path, {}),
        ("DELETE", path, {}),
        ("GET", f"{path}/content", {}),
        ("POST", f"{path}/remix", {"json": {"prompt": PROMPT}}),
        ("POST", f"{VIDEOS}/edits", {"json": {"prompt": PROMPT, "video": {"id": video["id"]}}}),
    ]
    for method, place, body in requests:
        answer = bench.call(method, place, headers=other, **body)
        refused(answer, 404, "not_found", "video_id")
    assert bench.call("GET", VIDEOS, headers=other).json()["data"] == []
    answer = bench.call("GET", VIDEOS, headers=other, params={"after": video["id"]})
    refused(answer, 400, "invalid_cursor", "after")


def test_the_database_holds_no_key(bench, keys):
    bench.studio.store.close()
    files = list(bench.studio.media.folder.parent.glob("studio.sqlite*"))
    assert files and not any(keys[0].encode() in path.read_bytes() for path in files)


def test_a_deleted_key_loses_its_jobs(bench, keys):
    """Queued jobs are cancelled, and nothing more is accepted."""
    video = create(bench, keys[0]).json()
    account = accounts.of_key(bench.studio.store, keys[0])
    accounts.delete_key(bench.studio.store, "mika")
    refused(create(bench, keys[0]), 401, "invalid_api_key")
    assert bench.row(video).status == "cancelled" and bench.worker.work() == 0
    assert bench.row(video).completed_at >= bench.row(video).created_at
    row = dict(bench.row(video)._mapping)
    late = {n: row[n] for n in LATE} | {"id": jobs.new_id(), "account_id": account}
    assert jobs.accept(bench.studio.store, late, 20) is None  # read before its key was deleted
    with pytest.raises(UserError, match="no key 'mika'"):
        accounts.delete_key(bench.studio.store, "mika")


@pytest.mark.parametrize("name", ["", "local", "Mika", "a b", "../x", "x" * 41, "m\u0456ka"])
def test_names_of_keys(bench, name):
    with pytest.raises(UserError, match="is no name of a key"):
        accounts.new_key(bench.studio.store, name)


def test_a_name_is_taken_once(bench, keys):
    with pytest.raises(UserError, match="there is a key mika already"):
        accounts.new_key(bench.studio.store, "mika")


def test_unfinished_jobs_are_limited(bench, keys):
    """Each key has its own queue, and a finished job leaves room."""
    bench.with_limits(queue=2)
    for _ in range(2):
        assert create(bench, keys[0]).status_code == 200
    answer = create(bench, keys[0])
    refused(answer, 429, "queue_full")
    assert int(answer.headers["retry-after-ms"]) > 0
    assert create(bench, keys[1]).status_code == 200
    bench.worker.work()
    assert create(bench, keys[0]).status_code == 200


def test_requests_a_minute_are_limited(bench, keys):
    bench.with_limits(requests_per_minute=3)
    for _ in range(3):
        assert bench.call("GET", VIDEOS, headers=bearer(keys[0])).status_code == 200
    answer = bench.call("GET", VIDEOS, headers=bearer(keys[0]))
    refused(answer, 429, "rate_limit")
    assert 10 <= int(answer.headers["retry-after"]) <= 20
    assert bench.call("GET", VIDEOS, headers=bearer(keys[1])).status_code == 200


def test_a_limit_fills_up_again(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(accounts.time, "monotonic", lambda: now[0])
    limit = accounts.RateLimit(60)
    assert [limit.wait("a") for _ in range(60)] == [0] * 60
    assert limit.wait("a") == pytest.approx(1)
    now[0] = 1.01
    assert limit.wait("a") == 0 and limit.wait("a") > 0.9
