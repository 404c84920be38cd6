"""Tuned launch parameters of kernels: a JSON file for each operation and device overrides the
defaults, which a heuristic computes from the shapes of a call.

    {"device": "NVIDIA H200", "op": "temporal_attention", "entries": [{"where": {"T": 16, "D": 64},
    "use": {"num_warps": 4}}, ...]}

`where` holds fields of the operation's spec, the description of a call. The first entry whose
fields all match supplies the parameters in `use`. Files are in `kernels/tuned/<op>/<device>.json`.
The function `use` selects another file, and `trial` sets the parameters directly.
"""

import contextlib
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernels import settings, target

SHIPPED = Path(__file__).parent / "tuned"

_chosen: dict[str, Path] = {}
_trial = settings.setting("kernels_trial", {})
settings.watch(lambda: sorted(_chosen.items()))


def use(path: str | Path) -> None:
    """Uses the tuning file `path` for the operation that it names, until this process ends.

    Raises:
        ValueError: the file is no tuning file, or was tuned on another device.
    """
    content = _read(Path(path))
    here = target.current()
    if target.Target("gpu", content["device"]).slug != here.slug:
        raise ValueError(
            f"{path} was tuned on {content['device']!r}, but this device is {here.kind!r}; "
            "tune here, or leave the file out"
        )
    _chosen[content["op"]] = Path(path)


def trial(op: str, parameters: Mapping[str, Any]) -> contextlib.AbstractContextManager[None]:
    """Returns a context manager that gives all calls of the operation `op` the launch parameters
    `parameters`, {name: value}, in place of those of any tuning file. Trace inside the context.
    """
    return settings.held(_trial, {**_trial.get(), op: parameters})


def parameters(op: str, heuristic: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Returns the launch parameters of a call, {name: value}: those of the heuristic, overridden by
    `trial` or else by the tuning file of this device.

    Args:
        op: the operation's name.
        heuristic: default parameters, {name: value}.
        fields: fields of the call's spec, matched against the `where` of the file's entries.

    Raises:
        ValueError: the file or the trial has a parameter that is not in `heuristic`.
    """
    if op in _trial.get():
        return _replaced(heuristic, _trial.get()[op], op, "trial")
    path = _chosen.get(op, SHIPPED / op / f"{target.current().slug}.json")
    tuned = {}
    if path.exists():
        entries = (
            entry for entry in _read(path)["entries"] if entry["where"].items() <= fields.items()
        )
        tuned = next(entries, {"use": {}})["use"]
    return _replaced(heuristic, tuned, op, path)


def _replaced(
    heuristic: Mapping[str, Any], tuned: Mapping[str, Any], op: str, where: Path | str
) -> dict[str, Any]:
    if unknown := set(tuned) - set(heuristic):
        raise ValueError(
            f"{where}: {op} has no parameter {', '.join(sorted(unknown))}; it has "
            f"{', '.join(heuristic)}"
        )
    return {**heuristic, **tuned}


@functools.cache
def _read(path: Path) -> dict:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not {"device", "op", "entries"} <= set(content):
        raise ValueError(f"{path} is no tuning file: it needs device, op and entries")
    return content
