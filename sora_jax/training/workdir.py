"""A run's directory, and what makes a run the run that it is.

A run continues only with the same configuration, the same first weights and the same data: its
identity. `open_workdir` refuses a directory whose identity differs, and names the keys that do.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sora_jax import config as config_lib
from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.parallel import processes

INPUTS = ("data", "clips")  # folders of a workdir that may be there before its run begins
# Parts of a configuration that change nothing that a run computes: its devices, and what it shows.
OUTSIDE = ("mesh", "profile", "sample")


class Workdir:
    """A run's directory: config.json with its fingerprint, checkpoints/, metrics.jsonl,
    tensorboard/. One run at a time; of several processes that train together the first holds it.

    Raises:
        UserError: it holds another run's configuration (the first differing keys are named), or
          other files, or is in use.
    """

    def __init__(self, path: str | os.PathLike, config: Any):
        self.path = Path(path).absolute()
        self.config = config_lib.to_dict(config)
        self.fingerprint = config_lib.fingerprint(self.config)
        self._refuse_others(path)
        self._lock = None
        if not processes.is_first():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is training in {path}; wait for it, or give another workdir"
            ) from error
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}); give another workdir"
            ) from error

    def _refuse_others(self, path: str | os.PathLike) -> None:
        record = self.path / "config.json"
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"workdir={path} is a file; give a directory")
        if record.exists():
            try:
                old = json.loads(record.read_text())["config"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{record} is not a run's configuration; give another workdir"
                ) from error
            if changed := config_lib.differences(old, self.config):
                more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
                raise UserError(
                    f"{path} holds a run with another config: {', '.join(changed[:3])}{more}; "
                    "give another workdir, or the same config to continue that run"
                )
        elif self.path.is_dir() and any(
            not p.name.startswith(".") and p.name not in INPUTS for p in self.path.iterdir()
        ):
            raise UserError(f"{path} is not empty and holds no run; give a new or empty workdir")

    def begin(self) -> None:
        """Makes the directory this run's, by writing config.json.

        `fit` calls it: until training begins, a wrong configuration can be mended in place.
        """
        record = self.path / "config.json"
        if processes.is_first() and not record.exists():
            content = {"fingerprint": self.fingerprint, "config": self.config}
            files.write(record, json.dumps(content, indent=2) + "\n")

    def close(self) -> None:
        if self._lock:
            self._lock.close()

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def open_workdir(
    path: str | os.PathLike, config: Any, init_from: str | None, dataset: Mapping[str, Any]
) -> Workdir:
    """The directory of a run, new or to be continued.

    Args:
        config: the resolved configuration, a dataclass.
        init_from: fingerprint of the weights that training starts from, or None.
        dataset: what identifies the data, known before they are made (`latents.record.identity`).
    Raises:
        UserError: the directory holds another run, or cannot be used.
    """
    identity = {**config_lib.to_dict(config), "init_from": init_from, "dataset": dict(dataset)}
    for name in OUTSIDE:
        identity.pop(name, None)
    # A run may skip damaged clips from any step on: without the switch it stops at the first.
    identity.get("data", {}).pop("skip_damaged", None)
    changed = config_lib.differences(_begun(path) or identity, identity)
    keys = {line.split()[0] for line in changed}
    if keys == {"train.steps"}:
        old = _begun(path)["train"]["steps"]
        raise UserError(
            f"{path} holds a run of {old} steps, not {config.train.steps}: its learning rate "
            "falls over them all; finish it with "
            f"config.train.steps={old}, and train on from its weights with "
            f"init_from={path}/weights.safetensors in another workdir"
        )
    if keys and all(key.startswith("dataset.") for key in keys):
        raise UserError(
            f"the data of the run in {path} have changed: {', '.join(changed)}; bring back "
            "what it was trained on, or give another workdir"
        )
    return Workdir(path, identity)


def _begun(path: str | os.PathLike) -> dict[str, Any] | None:
    """The identity of the run in a directory; None where there is none, or none that can be read:
    `Workdir` says which.
    """
    try:
        values = json.loads((Path(path) / "config.json").read_text())["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return values if isinstance(values, dict) else None
