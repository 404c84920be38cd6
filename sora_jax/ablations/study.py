"""The folder of a study: its sweep, its trials and their records.

    study.json               question, measure and trials of the sweep
    data/                    latents that trials share
    trials/FINGERPRINT/      a trial (`trial.py`)

A record is found by the fingerprint of its trial. Records that are committed beside the sweep
file, in a folder of its name, are copied into a new study, so a clone repeats no trial of a
published study.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sora_jax import files
from sora_jax.ablations.sweep import read_sweep
from sora_jax.ablations.trial import RECORD, TASK, Trial, folder_of, plan
from sora_jax.errors import UserError

STUDY = "study.json"


@dataclasses.dataclass(frozen=True)
class Study:
    """A sweep and the folder of its results.

    Attributes:
        folder: the folder.
        name: name of the sweep file, without its ending.
        size: the name of the sweep's size that was chosen; "" for none.
        question, measure, match: those of the sweep (`sweep.Sweep`).
        trials: fingerprints of the trials, in the order of the sweep.
    """

    folder: Path
    name: str
    size: str
    question: str
    measure: str
    match: str
    trials: tuple[str, ...]

    def records(self) -> list[dict[str, Any]]:
        """Returns the records of the trials that are done, in the order of the sweep. Each also has
        the study's `measure`, its `curve` [[step, value], ...], and its last value as `score`.

        Raises:
            UserError: a record is damaged, or has no curve of the measure.
        """
        paths = [self.folder / "trials" / trial / RECORD for trial in self.trials]
        return [self._record(path) for path in paths if path.exists()]

    def _record(self, path: Path) -> dict[str, Any]:
        record = read_json(path)
        curves = record.get("curves", {})
        if self.measure not in curves:
            raise UserError(
                f"{path} has no curve of {self.measure}; delete it, and run again: the trained "
                "weights are kept"
            )
        curve = curves[self.measure]
        return {**record, "measure": self.measure, "curve": curve, "score": curve[-1][1]}


def open_study(
    sweep: str | os.PathLike, folder: str | os.PathLike, size: str = ""
) -> tuple[Study, list[Trial], list[str]]:
    """Opens the folder of a study, new or begun, and writes the tasks of its trials.

    Args:
        sweep: the sweep file.
        folder: the folder.
        size: the name of one of the sweep's sizes. Default "": none.

    Returns:
        The study, its trials, and notes for the user (`trial.plan`).

    Raises:
        UserError: the sweep cannot be used, or the folder holds another study or other files.
    """
    read, where = read_sweep(sweep), files.user_path(folder)
    name = Path(sweep).stem
    _refuse_others(where, name, size)
    trials, notes = plan(read, size)
    study = Study(
        where,
        name,
        size,
        read.question,
        read.measure,
        read.match,
        tuple(trial.fingerprint for trial in trials),
    )
    for trial in trials:
        own = folder_of(trial, where)
        own.mkdir(parents=True, exist_ok=True)
        files.write(own / TASK, json.dumps(trial.to_dict(), indent=1) + "\n")
        published = files.user_path(sweep).with_suffix("") / f"{trial.fingerprint}.json"
        if published.exists() and not (own / RECORD).exists():
            shutil.copyfile(published, own / RECORD)
    content = {**dataclasses.asdict(study), "folder": None}
    files.write(where / STUDY, json.dumps(content, indent=1) + "\n")
    return study, trials, notes


def read_study(folder: str | os.PathLike) -> Study:
    """Returns the study in a folder.

    Raises:
        UserError: the folder holds none.
    """
    where = files.user_path(folder)
    if not (where / STUDY).exists():
        raise UserError(f"no study in {folder}; give the workdir of experiments.ablate")
    fields = read_json(where / STUDY)
    return Study(**{**fields, "folder": where, "trials": tuple(fields["trials"])})


def read_trial(folder: str | os.PathLike, fingerprint: str) -> Trial:
    """Returns the trial of a fingerprint in the folder of a study.

    Raises:
        UserError: the study has no such trial, or the code plans another one since.
    """
    task = files.user_path(folder) / "trials" / fingerprint / TASK
    if not task.exists():
        raise UserError(f"no trial {fingerprint} in {folder}; see {STUDY} there")
    trial = Trial.from_dict(read_json(task))
    if trial.fingerprint != fingerprint:
        raise UserError(
            f"the code has changed since trial {fingerprint} of {folder} was planned; run the "
            "study again, which plans it anew"
        )
    return trial


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file of a study. Raises UserError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it, and run again") from error


def _refuse_others(folder: Path, name: str, size: str) -> None:
    if (folder / STUDY).exists():
        there: Mapping[str, Any] = read_json(folder / STUDY)
        if (there["name"], there["size"]) != (name, size):
            raise UserError(
                f"{folder} holds the study {there['name']}{' at ' * bool(there['size'])}"
                f"{there['size']}, not {name}{' at ' * bool(size)}{size}; give another workdir",
                field="workdir",
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty and holds no study" if folder.is_dir() else "is a file"
        raise UserError(f"{folder} {what}; give a new or empty workdir", field="workdir")
