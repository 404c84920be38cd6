"""The real command: starts, serves, restarts a killed worker, ends; mistakes are one line."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import sqlalchemy as sa
from studio_parts import PROMPT

from sora_jax import studio
from sora_jax.errors import UserError
from sora_jax.studio import logs
from sora_jax.studio.database import accounts, likenesses, tables
from sora_jax.studio.endpoints import operations
from sora_jax.studio.http import openapi, server
from sora_jax.studio.settings import Settings
from sora_jax.studio.storage.publish import VARIANTS

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "experiments.serve"]


def run(*flags):
    return subprocess.run([*COMMAND, *flags], cwd=ROOT, capture_output=True, text=True)


def fetch(url, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **headers}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
        return answer.read()


def wait_for(condition, seconds=300):
    """Waits until a condition is true; HTTP errors count as not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.HTTPError):
            if value := condition():
                return value
        time.sleep(0.1)
    raise AssertionError("it took too long")


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.slow
def test_a_server_from_start_to_end(tmp_path, weights_files):
    """It prints its address, is healthy when the weights are loaded, survives kill -9 of its
    worker, and ends with status 0 and no process left.
    """
    key = run(f"--directory={tmp_path}", "--new_key=mika").stdout.strip()
    assert re.fullmatch(r"sk-sora-[\w-]{43}", key)
    flags = [f"--{name}={value}" for name, value in weights_files.items()]
    command = [*COMMAND, f"--directory={tmp_path}", "--port=0", "--steps=2", *flags]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = server.stdout.readline()
        base = re.fullmatch(r"serving at (http://127\.0\.0\.1:\d+)/v1 \(with a key\)\n", line)[1]
        wait_for(lambda: json.loads(fetch(f"{base}/healthz"))["workers"] == 1)
        bearer = {"authorization": f"Bearer {key}"}
        (old,) = children(server.pid)
        os.kill(old, signal.SIGKILL)
        url = f"{base}/v1/videos"
        video = json.loads(fetch(url, {"prompt": PROMPT}, **bearer))

        def done():
            return json.loads(fetch(f"{url}/{video['id']}", **bearer))["status"] == "completed"

        wait_for(done)
        assert fetch(f"{url}/{video['id']}/content", **bearer)[4:8] == b"ftyp"
        workers = children(server.pid)
        assert workers and old not in workers
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    finally:
        server.kill()
        server.stdout.close()
    text = (tmp_path / "log").read_text()
    assert "the worker ended with status -9; it is started again" in text
    assert "Traceback" not in text and key not in text and PROMPT not in text


def test_mistakes_are_one_line(tmp_path):
    """Status 2, no traceback."""
    for flags, expected in (
        ((), "--directory is missing"),
        ((f"--directory={tmp_path}", "--host=0.0.0.0"), "--host: host=0.0.0.0: other machines"),
    ):
        done = run(*flags)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert expected in done.stderr, done.stderr


def test_weights_that_are_none_end_the_server(tmp_path):
    (tmp_path / "a.safetensors").write_text("no weights")
    done = run(f"--directory={tmp_path}", "--port=0", f"--weights={tmp_path}/a.safetensors")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "a.safetensors" in done.stderr and "the worker cannot start" in done.stderr


def test_a_server_that_cannot_start(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "prepare", int)  # it would take the log from other tests
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cases = {
            "give another port or host": {"port": taken.getsockname()[1]},
            "media=nothing://bucket: .*; give a folder, or a URL": {"media": "nothing://bucket"},
            "cannot write into": {"media": "/proc/none"},
            "cannot open the database": {"database": "mysql://a/b"},
            "make one first with --new_key=NAME": {"host": "0.0.0.0"},
        }
        for message, changes in cases.items():
            with pytest.raises(UserError, match=message):
                server.serve(Settings(str(tmp_path), **changes))


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(studio.REQUIRED, "sqlalchemy", "no_such_module")
    with pytest.raises(UserError, match=r"needs sqlalchemy; pip install -e '\.\[studio\]'"):
        studio.check_packages()


def fits(value, schema, path="$"):
    """Asserts that a JSON value fits a schema of the document."""
    if "$ref" in schema:
        schema = openapi.SCHEMAS[schema["$ref"].rpartition("/")[2]]
    kinds = schema.get("type", "object")
    names = {type(None): "null", bool: "boolean", int: "integer", str: "string", list: "array"}
    name = names.get(type(value), "number" if isinstance(value, float) else "object")
    assert name in ([kinds] if isinstance(kinds, str) else kinds), (path, name, kinds)
    assert value in schema.get("enum", [value]), (path, value)
    if isinstance(value, list):
        for one in value:
            fits(one, schema["items"], f"{path}[]")
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema["required"]) <= value.keys() <= schema["properties"].keys(), (path, value)
        for key, one in value.items():
            fits(one, schema["properties"][key], f"{path}.{key}")


def answers_of_consent(shared, character):
    """Answers of the endpoints of grants, restrictions and follows, by their schema."""
    store, path = shared.studio.store, f"/v1/characters/{character}"
    accounts.new_key(store, "nobody")
    accounts.delete_key(store, "nobody")  # the server stays open
    with store.engine.begin() as connection:
        name = sa.update(tables.accounts).where(tables.accounts.c.name == "nobody")
        connection.execute(name.values(deleted_at=None))
    likenesses.change(store, character, status="verified")
    mine = {"account": "nobody"}
    rules = {"restrictions": ["no throw", "be kind"]}
    asked = {
        "Grant": ("POST", f"{path}/grants", mine),
        "GrantList": ("GET", f"{path}/grants", None),
        "DeletedGrant": ("DELETE", f"{path}/grants/nobody", None),
        "Restriction": ("PUT", f"{path}/restrictions", rules),
        "RestrictionList": ("GET", f"{path}/restrictions", None),
        "Follow": ("POST", "/v1/follows", mine),
        "FollowList": ("GET", "/v1/follows", None),
        "DeletedFollow": ("DELETE", "/v1/follows/nobody", None),
        "DeletedCharacter": ("DELETE", path, None),
    }
    found = {
        name: [shared.call(method, place, json=body).json()]
        for name, (method, place, body) in asked.items()
    }
    found["Restriction"] = found["Restriction"][0]["data"]
    assert [one["enforced"] for one in found["Restriction"]] == [True, False]
    return found


def test_the_document_is_true(shared):
    """It has every route but those of the page, and answers of each kind fit its schemas."""
    document = shared.call("GET", "/openapi.json").json()
    routes = {(route.path, method.lower()) for route in shared.app.app.routes
              for method in route.methods - {"HEAD"}
              if not re.match(r"/$|/api/|/static/", route.path)}  # fmt: skip
    listed = {(path, method) for path, ways in document["paths"].items() for method in ways}
    assert routes == listed
    clip, path = shared.clip, f"/v1/videos/{shared.clip['id']}"
    files = {"video": ("clip.mp4", shared.content(clip))}
    made = shared.call("POST", "/v1/videos/characters", data={"name": "x"}, files=files).json()
    answers = {
        "Video": [clip, shared.create(), shared.get(clip)],
        "VideoList": [shared.call("GET", "/v1/videos").json()],
        "Character": [made, shared.call("GET", f"/v1/videos/characters/{made['id']}").json()],
        "Error": [shared.call("GET", f"{path}0").json()],
        "Health": [shared.call("GET", "/healthz").json()],
        "DeletedVideo": [shared.call("DELETE", f"/v1/videos/{shared.create()['id']}").json()],
        "Challenge": [shared.call("POST", "/v1/characters/challenges", json={}).json()],
        "CharacterList": [shared.call("GET", "/v1/characters").json()],
        "ProvenanceCheck": [
            shared.call("POST", "/v1/content_provenance_checks", files={"file": one}).json()
            for one in (files["video"], ("a.wav", shared.content(clip, "sound")))
        ],
        **answers_of_consent(shared, made["id"]),
    }
    for name, values in answers.items():
        for value in values:
            fits(value, {"$ref": f"#/components/schemas/{name}"})
    assert answers.keys() == document["components"]["schemas"].keys()
    assert set(clip["content_urls"]) == set(VARIANTS)


def test_errors_of_the_document(shared):
    """A field that the document has is known to the endpoint, and no other."""
    for operation in operations.OPERATIONS:
        if operation.body is None or "{" in operation.path:
            continue
        answer = shared.call(operation.method, operation.path, json={"no_such": 1})
        message = answer.json()["error"]["message"]
        assert answer.json()["error"]["code"] == "unknown_parameter"
        assert message.endswith(f"known are {', '.join(operation.body)}.")
        assert (
            str(answer.status_code)
            in openapi.document()["paths"][operation.path][operation.method.lower()]["responses"]
        )


def test_metrics(bench):
    """Counts of jobs and requests, in lines that Prometheus reads."""
    video = bench.finished(bench.create())
    bench.create()
    bench.call("GET", "/v1/nothing")
    text = bench.call("GET", "/metrics").text
    line = re.compile(r'[a-z_]+(\{([a-z]+="[^"\n]*",?)+\})? [0-9.]+')
    assert all(line.fullmatch(one) for one in text.splitlines() if not one.startswith("#")), text
    for expected in (
        'sora_jax_jobs{status="completed"} 1',
        'sora_jax_jobs{status="queued"} 1',
        "sora_jax_workers_ready 1",
        'sora_jax_http_requests_total{method="POST",route="/v1/videos",status="200"} 2',
        'sora_jax_http_requests_total{method="GET",route="/v1/videos/{video_id}",status="200"} 1',
        'sora_jax_http_requests_total{method="GET",route="other",status="404"} 1',
    ):
        assert expected in text.splitlines(), text
    assert video["id"] not in text
