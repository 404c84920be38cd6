"""Trials: one arm of a sweep with one seed, trained and scored in a folder of its own.

The folder holds `task.json`, the resolved trial, `run/`, the run's directory, and at the end
`trial.json`, the record:

    fingerprint, arm, seed            the trial
    values                            values by key of the configuration that the sweep sets
    within                            the values that arms must share to be compared
    run                               the whole configuration
    curves                            {metric: [[step, value], ...]} of all validations
    steps, flops, parameters          the size of the training and of the model
    seconds, peak_memory              seconds of all training steps; bytes
    scores                            {suite: {metric: {...}}} of the scoreboard
    weights                           fingerprint of the trained weights
    hardware, commit, versions        the machine and the code

Records depend neither on the folder, so those of another machine count as well
(`study.open_study`), nor on the measure of the sweep.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sora_jax import config as config_lib
from sora_jax import environment, files
from sora_jax.ablations import budget, kinds
from sora_jax.ablations.sweep import SEED, Sweep
from sora_jax.errors import UserError
from sora_jax.evaluation.run import evaluate
from sora_jax.pipelines.load import load_pipeline
from sora_jax.training import metrics
from sora_jax.training.data_config import SetConfig, published
from sora_jax.training.run import Run
from sora_jax.training.start import NEW
from sora_jax.training.workdir import INPUTS, comparable, identity_of
from sora_jax.tree import flatten
from sora_jax.weights import load_weights

TASK, RECORD = "task.json", "trial.json"
PATIENCE = 120  # seconds that a stopped process has to save its checkpoint
VALIDATIONS = 8  # points of a validation curve if the configuration sets no `validation.every`


@dataclasses.dataclass(frozen=True)
class Trial:
    """One arm with one seed.

    Attributes:
        arm: name of the arm.
        seed: seed of the run.
        values: values of the configuration keys that the sweep sets.
        within: the part of `values` that arms must share to be compared.
        run: the resolved configuration, with its steps, depth or width matched.
        flops: FLOPs of the training (`budget.flops`).
        suites: suites of the scoreboard.
        prompts: number of prompts of each suite.
        dataset: identity of the data (`inputs.identify`).
    """

    arm: str
    seed: int
    values: Mapping[str, Any]
    within: Mapping[str, Any]
    run: kinds.AnyRun
    flops: float
    suites: tuple[str, ...]
    prompts: int
    dataset: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """Identifies everything that the record depends on except hardware and code.

        Values that equal their field's default are left out. So a field that is added later, with a
        default that changes nothing, leaves fingerprints as they are.
        """
        plain = kinds.default_of(self.run)
        ours, default = (comparable(identity_of(run, NEW, {})) for run in (self.run, plain))
        for of, run in ((ours, self.run), (default, plain)):
            of["validation"] = config_lib.to_dict(run.validation)
        sets = [_changed(one, config_lib.to_dict(SetConfig())) for one in ours["data"].pop("sets")]
        identity = {"run": _changed(ours, default), "sets": sets, "dataset": dict(self.dataset)}
        return config_lib.fingerprint(
            {**identity, "suites": self.suites, "prompts": self.prompts if self.suites else 0}
        )

    @property
    def name(self) -> str:
        """The name of the trial, such as "full seed 2"."""
        return f"{self.arm} seed {self.seed}"

    @property
    def data(self) -> str:
        """Identifies the latents that the trial trains on and is validated on."""
        shared = {"dataset": dict(self.dataset), "clips": self.run.validation.clips}
        return config_lib.fingerprint(shared)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        return config_lib.to_dict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Trial":
        """Returns the trial of `fields`, the result of `to_dict`."""
        run = kinds.run_of(fields["run"])
        return cls(**{**fields, "run": run, "suites": tuple(fields["suites"])})


def _changed(values: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values that differ from the default, by keys joined with dots."""
    known = config_lib.flatten(default)
    return {k: v for k, v in config_lib.flatten(values).items() if known.get(k, ...) != v}


def plan(sweep: Sweep, size: str = "") -> tuple[list[Trial], list[str]]:
    """Returns the trials of a sweep, and notes for the user.

    Trials of one fingerprint are merged, and a note says so.

    Args:
        sweep: the sweep.
        size: the name of one of its sizes. Default "": none.

    Raises:
        UserError: a configuration key is unknown or has a wrong value, two arms have the same name,
            an arm cannot be made to cost as many FLOPs as the first, or no validation gives the
            sweep's measure.
    """
    arms: dict[str, Trial] = {}
    found: dict[str, Trial] = {}
    notes = []
    for variant in sweep.trials:
        values = sweep.values(variant, size)
        seed = values.pop(SEED, 0)
        if variant.arm not in arms:
            first = next(iter(arms.values()), None)
            arms[variant.arm] = _arm(sweep, variant.arm, values, first.flops if first else None)
        arm = arms[variant.arm]
        if changed := config_lib.differences(arm.values, values):
            raise UserError(
                f"two arms are named {variant.arm}, and differ in {', '.join(changed)}; give their "
                'values names, as in param(key, {"small": 2, "large": 4})'
            )
        run = dataclasses.replace(arm.run, train=dataclasses.replace(arm.run.train, seed=seed))
        trial = dataclasses.replace(arm, seed=seed, run=run)
        known = found.setdefault(trial.fingerprint, trial)
        if known is not trial:
            notes.append(f"{trial.name} is {known.name} again, and is trained once")
    for arm in arms.values():
        if sweep.measure not in (known := kinds.measures(arm.run)):
            raise UserError(
                f"measure={sweep.measure!r} is no metric of {arm.arm}; "
                f"{config_lib.nearest(sweep.measure, known)}"
            )
    return list(found.values()), notes


def _arm(sweep: Sweep, name: str, values: Mapping[str, Any], flops: float | None) -> Trial:
    """Returns the trial of an arm with seed 0.

    Args:
        sweep: the sweep.
        name: name of the arm.
        values: values of the configuration keys that the sweep sets.
        flops: FLOPs of the first arm, to match; None for the first arm itself.
    """
    run = kinds.read_run(sweep.config, values)
    if sweep.suites and not isinstance(run, Run):
        raise UserError("suites score models; leave them out of a sweep of tokenizers")
    if flops is not None:
        run = budget.matched(run, flops, sweep.match, name)
    if not run.validation.every:
        every = max(1, run.train.steps // VALIDATIONS)
        run = dataclasses.replace(run, validation=dataclasses.replace(run.validation, every=every))
    return Trial(
        arm=name,
        seed=0,
        values=values,
        within={key: values.get(key) for key in sweep.within},
        run=run,
        flops=budget.flops(run),
        suites=sweep.suites,
        prompts=sweep.prompts,
        dataset=kinds.identify(run),
    )


def prepare(trial: Trial, folder: Path) -> None:
    """Makes the latents that the trial of a model trains on and is validated on, in FOLDER/data.

    Trials of the same data share them.
    """
    shared = folder / "data" / trial.data
    shared.mkdir(parents=True, exist_ok=True)
    kinds.prepare(trial.run, shared)


def run_trial(trial: Trial, folder: Path) -> None:
    """Trains and scores a trial, or continues it, and writes its record.

    Args:
        trial: the trial. Its latents must exist, so call `prepare` before.
        folder: the folder of the study. The trial uses FOLDER/trials/FINGERPRINT.

    Raises:
        UserError: the training fails, or has no validation.
        KeyboardInterrupt: stopped by a signal, after a checkpoint was saved.
    """
    own = folder_of(trial, folder)
    workdir = own / "run"
    workdir.mkdir(parents=True, exist_ok=True)
    for name in INPUTS:
        made = folder / "data" / trial.data / name
        if made.exists() and not (workdir / name).exists():
            (workdir / name).symlink_to(os.path.relpath(made, workdir), target_is_directory=True)
    _wait_for_lock(workdir)
    weights, fingerprint = kinds.train_run(trial.run, workdir)
    scores = {}
    if trial.suites:
        pipeline = load_pipeline(weights)
        scores = evaluate(pipeline, own / "scores", trial.suites, num_prompts=trial.prompts)
    rows = metrics.read(workdir / "metrics.jsonl")
    record = {**_identity(trial), **_measured(trial, rows), "scores": scores}
    loaded = load_weights(weights, kinds.weights_kind(trial.run))
    size = sum(int(x.size) for x in flatten(loaded.params).values())
    record |= {"weights": fingerprint, "parameters": size}
    record |= {"hardware": environment.hardware(), "commit": environment.commit()}
    record["versions"] = environment.versions()
    files.write(own / RECORD, json.dumps(record, indent=1) + "\n")


def _wait_for_lock(workdir: Path) -> None:
    """Waits, at most PATIENCE seconds, for an earlier process of the trial, which may still be
    saving its checkpoint.
    """
    end = time.monotonic() + PATIENCE
    lock = workdir / ".lock"
    while lock.exists() and time.monotonic() < end:
        with lock.open("w", encoding="utf-8") as file, contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(1)


def folder_of(trial: Trial, folder: Path) -> Path:
    """Returns the folder of a trial in the folder of its study."""
    return folder / "trials" / trial.fingerprint


def _identity(trial: Trial) -> dict[str, Any]:
    run = config_lib.to_dict(trial.run)
    return {
        "fingerprint": trial.fingerprint,
        "arm": trial.arm,
        "seed": trial.seed,
        "values": config_lib.to_dict(trial.values),
        "within": config_lib.to_dict(trial.within),
        "run": {**run, "data": published(run["data"])},
    }


def _measured(trial: Trial, rows: list[dict[str, float]]) -> dict[str, Any]:
    """Returns the entries of a record that come from the rows of metrics: curves and cost."""
    validated = [row for row in rows if "val/loss" in row]
    if not validated:
        raise UserError(f"{trial.name} has no validation; give a set with held-out clips")
    names = [name for name in validated[-1] if name.startswith("val/")]
    return {
        "curves": {name: [[row["step"], row[name]] for row in validated] for name in names},
        "steps": trial.run.train.steps,
        "flops": trial.flops,
        "seconds": 3600 * metrics.hours(rows),
        "peak_memory": max(row.get("peak_memory", 0) for row in rows),
    }
