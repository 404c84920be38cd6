"""Malformed requests, made from an OpenAPI document. Each breaks at least one rule of it."""

import json
import random
import re

STRANGE = (
    "", " ", "\0", "../../etc/passwd", "' OR 1=1 --", "<script>", "%00%2f", "\u0456", "\U0001f4a3",
    "{{7*7}}", "$(id)", "null", "-1", "1e999", "NaN", "A" * 3_000, "a[b][c]", "\r\nx: y", "\u202e",
)  # fmt: skip
VALUES = (
    None, True, -1, 0, 2**63, -(2**70), 1e308, 0.1, "", " ", "\0", [], {}, [[]], [{}], {"id": None},
    {"id": []}, {"a": {"b": {"c": {}}}}, [None] * 50, "\ud800", "x" * 40_000, {"": ""},
    [{"id": "char_" + "0" * 32}] * 9, {"image_url": "file:///etc/passwd"}, {"file_id": 1},
)  # fmt: skip
KINDS = (
    "application/json", "application/json; charset=utf-16", "multipart/form-data",
    "multipart/form-data; boundary=", "multipart/form-data; boundary=x", "text/html", "", "x",
    "application/x-www-form-urlencoded", "multipart/form-data; boundary=" + "y" * 500,
)  # fmt: skip
RAW = (
    b"{", b"[]", b"\xff\xfe", b"null", b'"x"', b"--x\r\n\r\n", b"--x\r\nContent-Disposition: "
    b'form-data; name="a"\r\n\r\n', b"[" * 5_000, b'{"prompt": NaN}', b"a=1&a=2&b[c]=3",
    b"\0" * 999,
)  # fmt: skip
UNKNOWN = "no_such_field"


def operations(document):
    """(method, path, operation) of each operation below /v1."""
    for path, ways in document["paths"].items():
        if path.startswith("/v1/"):
            for method, operation in ways.items():
                yield method.upper(), path, operation


def generate(document, count, seed=0):
    """Yields `count` requests: method, path, and the arguments of a client."""
    rng, known = random.Random(seed), list(operations(document))
    for i in range(count):
        method, path, operation = known[i % len(known)]
        ways = [_wrong_method]
        if "{" in path:
            ways += [_wrong_path] * 3
        if any(one["in"] == "query" for one in operation["parameters"]) and "{" not in path:
            ways += [_wrong_query] * 3
        if "requestBody" in operation:
            ways += [_wrong_json, _wrong_form, _raw] * 3
        yield rng.choice(ways)(rng, method, path, operation)


def _filled(rng, path, strange=False):
    """A path with its parameters: ids that nothing has."""

    def value(match):
        text = rng.choice(STRANGE[3:]) if strange else f"{match[1].split('_')[0]}_{rng.random()}"
        return "".join(f"%{byte:02x}" for byte in text.encode()) if strange else text

    return re.sub(r"{(\w+)}", value, path)


def _wrong_method(rng, method, path, operation):
    return rng.choice(("PATCH", "TRACE", "PROPFIND")), _filled(rng, path), {}


def _wrong_path(rng, method, path, operation):
    arguments = {"json": {}} if "requestBody" in operation else {}
    return method, _filled(rng, path, True), arguments


def _wrong_query(rng, method, path, operation):
    names = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
    wrong = {"limit": "x", "order": "up", "after": "nothing"}
    name = rng.choice([one for one in names if one in wrong])
    values = {one: rng.choice(STRANGE) for one in names} | {name: wrong[name]}
    return method, _filled(rng, path), {"params": values}


def _fields(rng, operation):
    (schema, *_) = (kind["schema"] for kind in operation["requestBody"]["content"].values())
    chosen = {name: rng.choice(VALUES) for name in schema["properties"] if rng.random() < 0.6}
    return chosen | {rng.choice((UNKNOWN, "__proto__", "prompt\0")): 1}


def _wrong_json(rng, method, path, operation):
    body = json.dumps(_fields(rng, operation))
    headers = {"content-type": "application/json"}
    return method, _filled(rng, path), {"content": body, "headers": headers}


def _wrong_form(rng, method, path, operation):
    pairs = []
    for name, value in _fields(rng, operation).items():
        text = str(value).encode("utf-8", "replace")
        name = rng.choice((name, f"{name}[]", f"{name}[id]", f"{name}[][id]"))
        pairs.append((name, rng.choice(((None, text), ("a.mp4", text), ("../a", b"\0" * 20)))))
    return method, _filled(rng, path), {"files": pairs}


def _raw(rng, method, path, operation):
    headers = {"content-type": rng.choice(KINDS)}
    return method, _filled(rng, path), {"content": rng.choice(RAW), "headers": headers}
