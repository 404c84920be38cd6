"""Where a run starts: with new weights, with weights of a file, or at the step of a file.

A run can go on from a file of weights that it wrote, for example one that is kept in a repository
when the checkpoints are gone. The file holds the averaged weights, the step, the position in the
data, the loss curve and the training hours of the run. The moments of the optimizer are not in it:
the optimizer begins anew, and its learning rate rises from 0 to that of the step over `warmup`
updates (`optim.schedule`).
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sora_jax import config as config_lib
from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.parallel import processes
from sora_jax.training.optim import OptimConfig, stable_steps
from sora_jax.training.state import split_module
from sora_jax.tree import flatten
from sora_jax.weights import Weights, fill, load_weights


@dataclasses.dataclass(frozen=True)
class Start:
    """The start of a run.

    Attributes:
        file: the file of weights. Default "": none, new weights.
        weights: its contents. Default: none.
        step: steps that the run has made before. Default: 0.
        position: position of the data iterator at that step. Default: none, its start.
        rows: a row of metrics for each point of the run's loss curve so far.
        config: the identity of the run that wrote the file (`workdir.identity_of`), if the run goes
            on from it. Default: none, a new run.
    """

    file: str = ""
    weights: Weights | None = None
    step: int = 0
    position: dict[str, Any] | None = None
    rows: tuple[dict[str, float], ...] = ()
    config: Mapping[str, Any] | None = None

    @property
    def identity(self) -> dict[str, str | None]:
        """The part of the run's identity that says where it starts: fingerprints of weights."""
        fingerprint = self.weights.fingerprint if self.weights else None
        if self.config is None:
            return {"init_from": fingerprint}
        return {"init_from": None, "continue_from": fingerprint}

    def begin(self, workdir: Path, batches: Any) -> None:
        """Moves the data iterator `batches` to `position`, and writes `rows` to metrics.jsonl in
        `workdir`. Does nothing for a new run.
        """
        if self.position is None:
            return
        batches.set_state(self.position)
        if processes.is_first():
            rows = "".join(json.dumps(row) + "\n" for row in self.rows)
            files.write(workdir / "metrics.jsonl", rows)


NEW = Start()  # new weights, at step 0


def open_start(
    kind: str,
    init_from: str | os.PathLike | None,
    continue_from: str | os.PathLike | None,
) -> Start:
    """Reads the start of a run.

    Args:
        kind: the kind of weights, a key of `weights.KINDS`.
        init_from: weights that a new run starts from, at step 0. None: none.
        continue_from: weights of a run that goes on at their step. None: none.

    Raises:
        UserError: both are given, or a file cannot be used.
    """
    if continue_from is None:
        loaded = load_weights(init_from, kind) if init_from else None
        return Start(str(init_from or ""), loaded)
    if init_from:
        raise UserError(
            "continue_from and init_from exclude each other; continue_from goes on with a run, "
            "init_from starts a new one"
        )
    loaded = load_weights(continue_from, kind)
    card = loaded.metadata
    if "position" not in card:
        raise UserError(
            f"{continue_from} does not say at which position of its data it was written; start a "
            "new run from it with init_from",
            field="continue_from",
        )
    curve, step = card["curve"], card["steps"]
    seconds = 3600 * card["hours"] / max(step, 1)
    rows = tuple({"step": at, "loss": loss, "step_seconds": seconds} for at, loss in curve)
    return Start(str(continue_from), loaded, step, card["position"], rows, card["run"])


def start_params(
    shapes: Any, params: Mapping[str, Any], file: str, partly: bool = False
) -> dict[str, jax.Array]:
    """Returns the parameters that a run takes from a file, by path.

    Args:
        shapes: the model's parameters as a tree of `jax.ShapeDtypeStruct`s.
        params: the parameters in the file, nested dicts of arrays.
        file: the name of the file, for messages.
        partly: True returns those whose shapes agree, and lists the others on stderr. Default
            False: all must agree.

    Raises:
        UserError: parameters do not agree; or, with `partly`, none does.
    """
    if not partly:
        return flatten(fill(shapes, params, file))
    given, wanted = flatten(params), flatten(shapes)
    fits = {path: x for path, x in wanted.items() if path in given and given[path].shape == x.shape}
    if not fits:
        raise UserError(f"{file} has no parameter of the model's shapes; give weights of its kind")
    lines = [f"  {path} {x.shape}, new" for path, x in wanted.items() if path not in fits]
    lines += [f"  {path} {given[path].shape}, not taken" for path in given if path not in fits]
    if lines and processes.is_first():
        head = f"note: {len(fits)} of {len(wanted)} parameters are taken from {file}; left out are"
        print("\n".join([f"{head}", *lines]), file=sys.stderr)
    return {path: jnp.asarray(given[path], x.dtype) for path, x in fits.items()}


def started(shapes: Any, given: Mapping[str, jax.Array], create: Callable[[], nnx.Module]) -> Any:
    """Returns the model's parameters before the first step: those given, and new ones for the rest.

    Args:
        shapes: the model's parameters as a tree of `jax.ShapeDtypeStruct`s, the result's structure.
        given: parameters by path, from `start_params`, or {}.
        create: () -> a model with new parameters, called if some are not given.
    """
    new = {} if len(given) == len(flatten(shapes)) else flatten(split_module(create())[0])
    leaves = [given[path] if path in given else new[path] for path in flatten(shapes)]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def shared_steps(optim: OptimConfig, old: int, new: int) -> int | None:
    """Returns the number of first steps that runs of `old` and of `new` steps have in common.

    Returns None if their learning rates differ from the first step on.

    Args:
        optim: the optimizer of both runs.
        old: steps of one run.
        new: steps of the other.
    """
    if old == new:
        return new
    stable = [stable_steps(optim, steps) for steps in (old, new)]
    return min((steps for steps in stable if steps is not None), default=None)


def check_continued(
    start: Start, optim: OptimConfig, old: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
    """Checks that a run that goes on from a file of weights is the run that wrote the file.

    Args:
        start: from `open_start`.
        optim: the optimizer of the run that goes on.
        old: the identity of the run that wrote the file (`workdir.comparable`).
        new: the identity of the run that goes on.

    Raises:
        UserError: the configuration or the data differ, or the learning rate has begun to fall
            towards another last step.
    """
    starts = ("init_from", "continue_from")
    old, new = ({k: v for k, v in one.items() if k not in starts} for one in (old, new))
    lines = config_lib.differences(old, new)
    if changed := [line for line in lines if not line.startswith("train.steps ")]:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise UserError(
            f"{start.file} is of a run with another config: {', '.join(changed[:3])}{more}; give "
            "its config to go on with it, or start a new run from it with init_from",
            field="continue_from",
        )
    before, now = old["train"]["steps"], new["train"]["steps"]
    shared = shared_steps(optim, before, now)
    if shared is None or start.step > shared:
        raise UserError(
            f"{start.file} is at step {start.step} of a run of {before} steps, whose learning "
            f"rate falls otherwise than in one of {now}; give config.train.steps={before}, or "
            "start a new run from it with init_from",
            field="continue_from",
        )
