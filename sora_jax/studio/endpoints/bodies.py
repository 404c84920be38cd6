"""Reads the bodies of requests, JSON or forms, into one nested form. Names in brackets give the
nesting of forms:

    video[id]=a                              {"video": {"id": "a"}}
    characters[][id]=a, characters[][id]=b   {"characters": [{"id": "a"}, {"id": "b"}]}

Both are needed: OpenAI's package sends `create` as a multipart form even without a file, and
`remix` as JSON.
"""

import json
import re
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from sora_jax.studio.problems import Problem, invalid

MOST_FIELDS, MOST_FILES, DEEPEST = 64, 4, 4  # of a form; DEEPEST levels of names
MOST_TEXT = 21 << 20  # bytes of a field: a data URL has at most 20,971,520 characters
NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
KEYS = re.compile(r"\[([^\[\]]*)\]")
Fields = dict[str, Any]


async def read(request: Request) -> Fields:
    """Returns the fields of a request by name: JSON values, or for a form texts and `UploadFile`s.

    Raises:
        Problem: status 400; the body has another content type, or cannot be read.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _json(await request.body())
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        return await _form(request)
    raise Problem(
        400,
        f"The content type {kind[:80]!r} is not supported; send application/json or "
        "multipart/form-data.",
        "unsupported_content_type",
    )


def _json(body: bytes) -> Fields:
    try:
        fields = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise invalid(f"The body is not JSON: {reason}.", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise invalid("The body is no JSON object.", code="invalid_json")
    return fields


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")


async def _form(request: Request) -> Fields:
    try:
        form = await request.form(
            max_files=MOST_FILES, max_fields=MOST_FIELDS, max_part_size=MOST_TEXT
        )
    except HTTPException as error:
        raise invalid(f"The form cannot be read: {error.detail}", code="invalid_form") from None
    fields: Fields = {}
    for name, value in form.multi_items():
        match = NAME.fullmatch(name)
        if not match:
            raise invalid(f"The name {name[:80]!r} of a field is none.", code="invalid_form")
        keys = [match[1], *KEYS.findall(match[2])]
        if len(keys) > DEEPEST:
            raise invalid(f"The name {name[:80]!r} has too many levels.", code="invalid_form")
        _put(fields, keys, value, name)
    return fields


def _put(fields: Fields, keys: list[str], value: str | UploadFile, name: str) -> None:
    """Puts a value into nested fields, under its keys. The key "" appends to a list. `name` is the
    whole name of the field, for messages.
    """
    key, *rest = keys
    if not rest:
        if key in fields:
            raise invalid(f"The field {name[:80]!r} is given twice.", name[:80])
        fields[key] = value
        return
    if rest[0]:
        inner = fields.setdefault(key, {})
        if not isinstance(inner, dict):
            raise invalid(f"The field {key[:80]!r} is given in two ways.", key[:80])
        _put(inner, rest, value, name)
        return
    items = fields.setdefault(key, [])
    if not isinstance(items, list):
        raise invalid(f"The field {key[:80]!r} is given in two ways.", key[:80])
    if len(rest) == 1:
        items.append(value)
        return
    # The next object of a list begins where one of its keys comes again.
    if not items or not isinstance(items[-1], dict) or rest[1] in items[-1]:
        items.append({})
    _put(items[-1], rest[1:], value, name)


def check_names(fields: Fields, known: tuple[str, ...]) -> None:
    """Raises Problem for a field that is not in `known`, the fields of an endpoint."""
    for name in fields:
        if name not in known:
            raise Problem(
                400,
                f"There is no parameter {str(name)[:80]!r}; known are {', '.join(known)}.",
                "unknown_parameter",
                str(name)[:80],
            )


def text(fields: Fields, name: str, most: int, required: bool = False) -> str | None:
    """Returns a field as text, None if it is absent.

    Args:
        fields: fields of the request.
        name: name of the field.
        most: largest number of letters.
        required: True refuses a request without the field. Default False.

    Raises:
        Problem: it is no text, is empty or too long.
    """
    value = fields.get(name)
    if value is None:
        if required:
            raise Problem(400, f"The parameter {name!r} is missing.", "missing_parameter", name)
        return None
    if not isinstance(value, str):
        raise invalid(f"The parameter {name!r} is no text.", name, "invalid_type")
    if not value.strip():
        raise invalid(f"The parameter {name!r} is empty.", name)
    if len(value) > most:
        raise invalid(f"The parameter {name!r} has more than {most} characters.", name)
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in value):
        raise invalid(f"The parameter {name!r} has characters that are no text.", name)
    return value


def number(
    fields: Fields, name: str, low: float, high: float, whole: bool = False
) -> float | int | None:
    """Returns a field as a number, which may be written as text; None if it is absent.

    Args:
        fields: fields of the request.
        name: name of the field.
        low: the least value.
        high: the largest value.
        whole: True for an integer. Default False.

    Raises:
        Problem: it is no number, or not from `low` to `high`, or not whole.
    """
    value = fields.get(name)
    if value is None:
        return None
    kind = "a whole number" if whole else "a number"
    given = repr(value)[:40] if isinstance(value, str) else str(value)[:40]
    limits = " to ".join(f"{x:g}" if abs(x) < 1e6 else str(int(x)) for x in (low, high))
    wrong = invalid(f"The parameter {name!r} is {given}; give {kind} from {limits}.", name)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise wrong
    if isinstance(value, str) and not re.fullmatch(r"-?\d{1,12}(\.\d{1,12})?", value):
        raise wrong
    found = float(value) if abs(float(value)) < 1e12 else high + 1
    if not low <= found <= high or (whole and found != int(found)):
        raise wrong
    return int(found) if whole else found


def upload(fields: Fields, name: str) -> UploadFile | None:
    """Returns a field if it is an uploaded file; else None."""
    value = fields.get(name)
    return value if isinstance(value, UploadFile) else None


def names(fields: Fields, name: str, most: int) -> list[str]:
    """Returns the ids in a field of the form [{"id": ...}, ...]; [] if it is absent.

    Raises:
        Problem: it is no such list, or longer than `most`.
    """
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise invalid(f"The parameter {name!r} is no list of objects with an id.", name)
    if len(value) > most:
        raise invalid(f"The parameter {name!r} has more than {most} entries.", name)
    ids = [one.get("id") for one in value]
    if any(
        not isinstance(one, str) or len(one) > 200 or len(value[i]) > 1 for i, one in enumerate(ids)
    ):
        raise invalid(f"The parameter {name!r} is no list of objects with an id.", name)
    return [str(one) for one in ids]
