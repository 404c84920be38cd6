"""Configuration: builds frozen dataclasses from user input and rejects unknown keys.

The library takes frozen dataclasses. Experiments are Python files that return an
`ml_collections.ConfigDict`. `from_dict` is the only bridge between them: each key must be a
field of the dataclass, and each value must have the field's type. The error for an unknown key
suggests the nearest name. So no key is ever silently ignored. `fingerprint` identifies a
resolved configuration.
"""

import dataclasses
import difflib
import functools
import hashlib
import inspect
import json
import math
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from sora_jax.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
P = ParamSpec("P")
R = TypeVar("R")


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the hint for an unknown name: "did you mean ...?", or the list of known names if none
    is close.
    """
    known = sorted(str(k) for k in known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"


def nearest_file(path: str | os.PathLike, folder: str) -> str:
    """Returns the hint for a missing Python file: "did you mean ...?", or where to find others.

    A name that contains the missing one counts as near. Files in the folder of `path` come before
    those in `folder`.

    Args:
        path: the missing file.
        folder: where such files usually are, such as "experiments/configs".
    """
    stem, beside = Path(path).stem, Path(path).parent
    for place in (beside, Path(folder)):
        stems = sorted(file.stem for file in place.glob("*.py") if file.stem[0] != "_")
        close = [one for one in stems if len(stem) > 2 and stem in one]
        if place == beside:
            close += difflib.get_close_matches(stem, stems, n=1)
        elif near := near_miss(stem, stems):  # far from the file only a misspelling is near
            close.append(near)
        if close:
            return f"did you mean {place / close[0]}.py?"
    return f"give a file such as those of {folder}"


def near_miss(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word of which a word is probably a misspelling; None if it is itself known,
    or another word.

    A misspelling has at least four letters, of which less than a third are wrong, missing, too many
    or exchanged with a neighbour. A word of three letters may have two exchanged.
    """
    most = (len(word) - 1) // 3
    if len(word) == 3:
        most, known = 1, [k for k in known if sorted(k) == sorted(word)]
    distances = [(_edits(word, k), k) for k in known if abs(len(k) - len(word)) <= most]
    edits, closest = min(distances, default=(len(word), ""))
    return closest if 0 < edits <= most else None


def _edits(a: str, b: str) -> int:
    """Returns how many letters to substitute, insert, delete or exchange turn `a` into `b`."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, above = row, before
        row = [i]
        for j, y in enumerate(b, start=1):
            least = min(before[j - 1] + (x != y), before[j] + 1, row[j - 1] + 1)
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                least = min(least, above[j - 2] + 1)
            row.append(least)
    return row[-1]


def known_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a function for users: a keyword that is not among its parameters raises
    UserError, which names the nearest one.
    """
    parameters = inspect.signature(function).parameters
    of_class, _, method = function.__qualname__.rpartition(".")
    called = of_class if method == "__init__" else function.__name__

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in parameters:
                raise UserError(
                    f"{called} has no parameter {name!r}; {nearest(name, parameters)}",
                    field=name,
                )
        return function(*args, **kwargs)

    return checked


def within(values: Any, interval: str, *names: str) -> None:
    """Checks that fields of an object are numbers in an interval. A field that is None passes.

    Args:
        values: the object whose fields are checked.
        interval: two bounds, such as "[0, 1)" or "(0, inf)"; a square bracket includes its bound.
        names: names of the fields.

    Raises:
        ValueError: a field is outside, or NaN; the message names it.
    """
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    wanted = f"a number in {interval}"
    if high == math.inf:
        wanted = f"a number above {low:g}" if interval[0] == "(" else f"{low:g} or more"
    if low == -math.inf and high == math.inf:
        wanted = "a finite number"
    for name in names:
        value = getattr(values, name)
        if value is None:
            continue
        above = value > low or (interval[0] == "[" and value == low)
        below = value < high or (interval[-1] == "]" and value == high)
        if not (above and below):
            raise ValueError(f"{name}={value}; give {wanted}")


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """Returns a dataclass with the values of nested mappings. Unknown keys are refused.

    Lists become tuples. Nested dataclasses are built from their fields' types.

    Args:
        cls: a dataclass.
        values: a mapping (also an `ml_collections.ConfigDict`). Absent keys keep the field's
            default.
        where: the path of `values`, for error messages.

    Raises:
        UserError: a key is unknown (the message suggests the nearest) or missing, a value has the
            wrong type, or the dataclass raises ValueError.
    """
    if not isinstance(values, Mapping) and not hasattr(values, "items"):
        raise UserError(
            f"{where} is {values!r}; it holds several keys: "
            f"{', '.join(f.name for f in dataclasses.fields(cls))}"
        )
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    built = {}
    for key, value in values.items():
        if key not in fields:
            raise UserError(f"unknown key {where}.{key}; {nearest(key, fields)}")
        built[key] = _convert(hints[key], value, f"{where}.{key}")
    required = {
        f.name
        for f in fields.values()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - built.keys()):
        raise UserError(f"{where} lacks {', '.join(missing)}; give a value to each")
    try:
        return cls(**built)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def keys_of(cls: Any, prefix: str = "") -> list[str]:
    """Returns the keys of a dataclass whose fields may be dataclasses, such as "train.steps".

    Args:
        cls: the dataclass.
        prefix: is put before every key. Default "": none.
    """
    hints, keys = typing.get_type_hints(cls), []
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            keys += keys_of(hints[field.name], f"{prefix}{field.name}.")
        else:
            keys.append(f"{prefix}{field.name}")
    return keys


def check_keys(keys: Iterable[str], cls: Any) -> None:
    """Checks keys such as "train.steps" against a dataclass.

    Args:
        keys: the keys. What stands below a field that is no dataclass is not checked.
        cls: the dataclass whose fields may be dataclasses.

    Raises:
        UserError: a key is unknown. The message names up to three keys that may be meant.
    """
    known = keys_of(cls)
    for key in keys:
        above = [key.rsplit(".", n)[0] for n in range(key.count(".") + 1)]
        if any(one.startswith(f"{key}.") for one in known) or set(above) & set(known):
            continue
        meant = _meant(key, known)
        hint = f"did you mean {' or '.join(map(repr, meant[:3]))}?"
        if not meant:
            hint = nearest(key.partition(".")[0], {one.partition(".")[0] for one in known})
        raise UserError(f"unknown key {key}; {hint}")


def _meant(key: str, known: list[str]) -> list[str]:
    """Returns the known keys that an unknown one may mean, the likeliest first.

    They are those whose last names are the same, its initials (lr of learning_rate), longer
    (batch_size of batch) or close; close ones of the same section come second. Of the first kind
    that there is, all are returned.
    """
    section, _, last = key.rpartition(".")
    names = {one: one.rpartition(".")[2] for one in known}
    initials = "".join(word[:1] for word in last.split("_"))
    inside = [one for one in known if section and one.startswith(f"{section}.")] or known
    close = difflib.get_close_matches(last, [names[one] for one in inside], n=1, cutoff=0.6)
    kinds = (
        [one for one in known if names[one] == last],
        [one for one in inside if section and names[one] in close],
        [one for one in known if len(initials) > 1 and names[one] == initials],
        [one for one in known if names[one].startswith(f"{last}_")],
        [one for one in inside if names[one] in close],
    )
    return next(filter(None, kinds), [])


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Converts `value` to the type `hint`. Other types pass through, with lists as tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        failures = []
        for option in (a for a in arguments if a is not type(None)):
            try:
                return _convert(option, value, where)
            except UserError as error:
                failures.append(error)
        raise failures[0]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, where)
    if origin is tuple or hint is tuple:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where}={value!r} is not a list of values; write for example (1, 2)")
        inner = (
            arguments[0]
            if arguments and (len(arguments) == 2 and arguments[1] is Ellipsis)
            else None
        )
        if arguments and inner is None:
            if len(arguments) != len(value):
                raise UserError(
                    f"{where}={value!r} has {len(value)} values; it needs {len(arguments)}"
                )
            return tuple(_convert(a, v, where) for a, v in zip(arguments, value, strict=True))
        return tuple(_convert(inner, v, where) if inner else _tuples(v) for v in value)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise UserError(f"{where}={value} is not a finite number; give one")
        return number
    if hint in (bool, int, float, str) and (
        not isinstance(value, hint) or (hint is int and isinstance(value, bool))
    ):
        raise UserError(
            f"{where}={value!r} is not {'an' if hint is int else 'a'} {hint.__name__}; give one"
        )
    return _tuples(value)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


def to_dict(config: Any) -> dict[str, Any]:
    """Returns the JSON form of a dataclass or a mapping: nested dicts, lists, numbers, strings,
    booleans and None.
    """
    values: Any = config
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        values = dataclasses.asdict(config)
    if hasattr(values, "to_dict"):
        values = values.to_dict()
    return json.loads(json.dumps(values))


def fingerprint(config: Any) -> str:
    """Returns the fingerprint of a configuration, the first 12 hex digits of the sha256 of its
    sorted JSON.

    config is a dataclass or a mapping.
    """
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()[:12]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings as one dict, with joined keys: {"a": {"b": 1}} -> {"a.b": 1}.

    `prefix` is put before every key. Default "": none. An empty mapping stays a value.
    """
    flat = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def completed(values: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Returns the JSON form of an older configuration, completed by the fields that were added to
    its dataclass since.

    An added field gets its default. This keeps the meaning of the configuration, because fields are
    added only with defaults that change nothing.

    Args:
        values: the older configuration as a mapping.
        config: a current instance of the dataclass. Its fields that are dataclasses, or tuples of
            dataclasses, are completed too.
    """
    result = to_dict(values)
    for field in dataclasses.fields(config):
        now = getattr(config, field.name)
        if field.name not in result:
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            if default is not dataclasses.MISSING:
                result[field.name] = to_dict(default)
            continue
        then = result[field.name]
        if dataclasses.is_dataclass(now) and isinstance(then, dict):
            result[field.name] = completed(then, now)
        elif isinstance(now, tuple) and now and dataclasses.is_dataclass(now[0]):
            several = then if isinstance(then, list) else []
            result[field.name] = [
                completed(x, now[0]) if isinstance(x, dict) else x for x in several
            ]
    return result


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns the keys in which the nested configurations `old` and `new` differ, as "train.steps
    (200, now 300)", sorted.
    """
    old, new = flatten(to_dict(old)), flatten(to_dict(new))
    absent = "absent"
    changed = sorted(k for k in old.keys() | new.keys() if old.get(k, absent) != new.get(k, absent))
    return [f"{k} ({old.get(k, absent)}, now {new.get(k, absent)})" for k in changed]


def from_flag(holder: Any) -> dict[str, Any]:
    """Returns the value of an `ml_collections` config flag as plain nested dicts.

    holder is the result of `config_flags.DEFINE_config_file`.

    Raises:
        UserError: --config is missing, or its file is missing or fails.
    """
    if holder.value is None:
        raise UserError(
            f"--{holder.name} is missing; give one of experiments/configs, as "
            f"--{holder.name}=experiments/configs/NAME.py"
        )
    try:
        return holder.value.to_dict()
    except Exception as error:  # the flag stores its file's error and raises it here
        reason = str(error).strip().splitlines()[-1].strip()
        missing = re.search(r"No such file or directory: '(.+)'", reason)
        if missing and any(missing[1] in arg for arg in sys.argv):
            hint = nearest_file(missing[1], "experiments/configs")
            raise UserError(f"--{holder.name}={missing[1]}: no such file; {hint}") from None
        raise UserError(
            f"--{holder.name} cannot be read: {reason}; give a Python file with get_config()"
        ) from error
