"""A run's directory and the identity of a run.

The identity of a run is its configuration, its initial weights and its data. A run continues
only with the same identity. `open_workdir` refuses a directory with another one, and names the
keys that differ. Moved folders do not count: data and weights are identified by
their contents. The number of steps may change where the schedule of the learning rate permits
it (`optim.stable_steps`).
"""

import fcntl
import json
import os
from collections.abc import Mapping
from typing import Any

from sora_jax import config as config_lib
from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.parallel import processes
from sora_jax.training.start import Start, check_continued, shared_steps

INPUTS = (
    "data",
    "clips",
    "validation",
    "text",
)  # folders that a workdir may contain before its run begins
# Sections of a configuration that do not change what a run computes, so not part of its identity.
# T5 is identified by the contents of its folder, in the identity of the data.
OUTSIDE = ("mesh", "profile", "validation", "sample", "text")
# Keys of the section `train` that do not change what a run computes, so they may differ.
SAVING = ("checkpoint_every", "checkpoint_minutes", "keep")


class Workdir:
    """A run's directory, locked while it is open.

    It holds config.json (the run's identity and its fingerprint), checkpoints/, metrics.jsonl and
    tensorboard/. One run may use it at a time. If several processes train together, process 0
    holds the lock.

    Args:
        path: the directory. It is created if it does not exist.
        config: the run's identity, a dataclass or a dictionary.
        begun: the identity of the run in the directory, if this run has another number of steps
            and replaces it from step `shared` on. Default: none, it is the same run.
        shared: the last step that both runs have in common. Default None: all steps.
        defaults: a dataclass whose defaults stand for the keys that an older config.json lacks.
            Default: none, and a file that lacks keys is of another run.

    Attributes:
        path: the absolute path.
        config: the run's identity as nested dictionaries.
        fingerprint: the fingerprint of the identity.
        shared: as given.

    Raises:
        UserError: the directory holds another run's configuration (the first differing keys are
          named) or other files, or is in use.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        config: Any,
        begun: Mapping[str, Any] | None = None,
        shared: int | None = None,
        defaults: Any = None,
    ):
        self.shared, self._begun, self._defaults = shared, begun, defaults
        self.path = files.user_path(path).absolute()
        self.config = config_lib.to_dict(config)
        self.fingerprint = config_lib.fingerprint(self.config)
        self._refuse_others(path)
        self._lock = None
        if not processes.is_first():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w", encoding="utf-8")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._refuse_others(path)  # again: another run may have begun and ended meanwhile
        except UserError:
            self.close()
            raise
        except BlockingIOError as error:
            self.close()
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
                content = json.loads(record.read_text(encoding="utf-8"))["config"]
                old = comparable(content, self._defaults)
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{record} is not a run's configuration; give another workdir"
                ) from error
            expected = comparable(self._begun or self.config, self._defaults)
            if changed := config_lib.differences(old, expected):
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
        """Writes config.json, which binds the directory to this run.

        `fit` calls it. Until training begins, the directory accepts a corrected configuration.
        """
        record = self.path / "config.json"
        if processes.is_first() and (self._begun or not record.exists()):
            content = {"fingerprint": self.fingerprint, "config": self.config}
            files.write(record, json.dumps(content, indent=2) + "\n")

    def close(self) -> None:
        """Releases the lock, so that another process can open the directory."""
        if self._lock:
            self._lock.close()

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def identity_of(config: Any, start: Start, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the identity of a run as JSON values.

    Args:
        config: the resolved configuration, a dataclass.
        start: where the run starts (`open_start`).
        dataset: the identity of the data.
    """
    identity = {**config_lib.to_dict(config), **start.identity, "dataset": dict(dataset)}
    for name in OUTSIDE:
        identity.pop(name, None)
    # Not part of the identity: a run that stopped at a damaged clip may continue with the switch.
    identity.get("data", {}).pop("skip_damaged", None)
    return identity


def comparable(identity: Mapping[str, Any], defaults: Any = None) -> dict[str, Any]:
    """Returns the part of an identity that must be equal for two runs to be the same run.

    It lacks the keys SAVING and `skip_damaged`, which may differ. It also lacks the paths and fits
    of data, because `dataset` identifies the data.

    Args:
        identity: from `identity_of`, perhaps written by an older version of this package.
        defaults: a dataclass whose defaults stand for keys that the identity lacks. Default: none,
            these keys stay absent.
    """
    result = config_lib.completed(identity, defaults) if defaults else config_lib.to_dict(identity)
    for name in OUTSIDE if defaults else ():  # `identity_of` left them out
        result.pop(name, None)
    for name in SAVING:
        result.get("train", {}).pop(name, None)
    data = result.get("data") if "dataset" in result else None
    for part in [data, *data.get("sets", ())] if isinstance(data, dict) else ():
        part.pop("path", None)
        part.pop("fit", None)
        part.pop("skip_damaged", None)
    return result


def open_workdir(
    path: str | os.PathLike, config: Any, start: Start, dataset: Mapping[str, Any]
) -> Workdir:
    """Opens the directory of a run, new or to be continued.

    Args:
        path: the directory.
        config: the resolved configuration, a dataclass with `optim` and `train`.
        start: where the run starts (`open_start`).
        dataset: the identity of the data, known before they are made (`latents.record.identity`).

    Raises:
        UserError: the directory holds another run, or cannot be used; or `start` goes on with
            another run.
    """
    identity = identity_of(config, start, dataset)
    begun = _begun(path)
    known = comparable(identity, config)
    changed = config_lib.differences(comparable(begun or identity, config), known)
    keys = {line.split()[0] for line in changed}
    if begun and keys == {"train.steps"}:
        return _of_another_length(path, config, begun, identity)
    if keys and all(key.startswith("dataset.") for key in keys):
        raise UserError(
            f"the data of the run in {path} have changed: {', '.join(changed)}; bring back "
            "what it was trained on, or give another workdir"
        )
    if start.config and not begun:
        check_continued(start, config.optim, comparable(start.config, config), known)
    return Workdir(path, identity, defaults=config)


def _of_another_length(
    path: str | os.PathLike, config: Any, begun: Mapping[str, Any], identity: Mapping[str, Any]
) -> Workdir:
    """Opens the directory of a run that is made longer or shorter."""
    old, new = begun["train"]["steps"], config.train.steps
    shared = shared_steps(config.optim, old, new)
    if shared is None:
        raise UserError(
            f"{path} holds a run of {old} steps, not {new}: its learning rate falls over them "
            "all, where config.optim.schedule=wsd lets a run be made longer; finish it with "
            f"config.train.steps={old}, and train on from its weights with "
            f"init_from={path}/weights.safetensors in another workdir"
        )
    return Workdir(path, identity, begun, shared, config)


def _begun(path: str | os.PathLike) -> dict[str, Any] | None:
    """Reads the identity of the run in a directory; None if it is missing or unreadable.

    `Workdir` raises the error for an unreadable one.
    """
    try:
        record = files.user_path(path) / "config.json"
        values = json.loads(record.read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return values if isinstance(values, dict) else None
