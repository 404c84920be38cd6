"""Recipes: pipelines of commands, called stations, that lead from nothing to scored weights.

A recipe is a Python file with `get_recipe() -> list[Station]`. Each station runs one command in a
folder of its own, WORKDIR/NAME. In its command, {folder} stands for that folder, {NAME} for the
output of the earlier station NAME, and {workdir} for WORKDIR. WORKDIR/stations.json is the record
of the stations that have ended:

    {NAME: {"command", "inputs": {NAME: digest}, "output": digest, "seconds", "hardware", "commit"}}

A station is skipped if it is in the record, its command and the digests (hashes) of its inputs
are the recorded ones, and its output exists. Each command continues after a kill, so a recipe
that is started again does too. A station that begins from a milestone keeps a copy of it,
WORKDIR/NAME.milestone, because its command must name the same weights again when it continues.
"""

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sora_jax import files
from sora_jax.config import nearest_file
from sora_jax.environment import commit, hardware
from sora_jax.errors import UserError

STATIONS = "stations.json"
FIELD = re.compile(r"\{(\w+)\}")


@dataclasses.dataclass(frozen=True)
class Station:
    """One command of a recipe.

    Attributes:
        name: names the station and its folder, in letters, digits and _.
        command: module and flags, such as ("experiments.train", "--workdir={folder}").
        makes: the output, a file or folder that later stations read as {NAME}. The path is relative
            to the station's folder. Default ".": that folder.
        milestone: path of weights that an earlier run wrote and that are kept in the repository. A
            new run continues from them (--continue_from) if the file exists. Default "": none.
        call: a function of the station's folder, called in this process instead of the command. The
            `command` then only states what the work depends on. Default None: the command runs.
    """

    name: str
    command: tuple[str, ...]
    makes: str = "."
    milestone: str = ""
    call: Callable[[Path], object] | None = dataclasses.field(default=None, compare=False)

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the stations whose outputs the command reads, sorted."""
        found = {name for part in self.command for name in FIELD.findall(part)}
        return tuple(sorted(found - {"folder", "workdir"}))


def read_recipe(path: str | os.PathLike) -> list[Station]:
    """Returns the stations of a recipe file, in order.

    Raises:
        UserError: the file does not exist, has no get_recipe() or fails, a name is invalid or
            given twice, or a station reads the output of one that is not before it.
    """
    file = files.user_path(path)
    if not file.is_file() or file.suffix != ".py":
        raise UserError(f"no recipe {path}; {nearest_file(file, 'experiments/recipes')}")
    spec = importlib.util.spec_from_file_location(f"recipe_{file.stem}", file)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        stations = list(module.get_recipe())
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"the recipe {path} fails: {message}") from error
    known: set[str] = set()
    for station in stations:
        if station.name in known or not re.fullmatch(r"\w+", station.name):
            raise UserError(f"{path}: give each station a name of its own; not {station.name!r}")
        if lost := set(station.reads) - known:
            raise UserError(
                f"{path}: the station {station.name} reads {sorted(lost)[0]}, which does not stand "
                "before it"
            )
        known.add(station.name)
    return stations


class Kitchen:
    """Runs the stations of a recipe in one folder, and records which are done.

    Attributes:
        stations: the stations, in order.
        workdir: the folder.
        record: the contents of stations.json (see the module).
    """

    def __init__(self, stations: Sequence[Station], workdir: str | os.PathLike) -> None:
        """Reads the record of the folder `workdir`, which need not exist.

        Raises:
            UserError: the record cannot be read.
        """
        self.stations, self.workdir = list(stations), files.user_path(workdir)
        self._path = self.workdir / STATIONS
        try:
            text = self._path.read_text(encoding="utf-8") if self._path.exists() else "{}"
            self.record: dict[str, Any] = json.loads(text)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {self._path}: {error}; delete it") from None

    def output(self, name: str) -> Path:
        """Returns the path of the output of the station `name`."""
        (station,) = (one for one in self.stations if one.name == name)
        return self.workdir / name / station.makes

    def command(self, station: Station) -> list[str]:
        """Returns the module and the flags of a station's command, with paths filled in.

        --continue_from is added with the milestone if a new run finds one, and with the copy of
        it if the run began from one.
        """
        folder = self.workdir / station.name
        paths = {name: str(self.output(name)) for name in station.reads}
        paths |= {"folder": str(folder), "workdir": str(self.workdir)}
        command = [FIELD.sub(lambda match: paths[match[1]], part) for part in station.command]
        if station.milestone:
            milestone = files.user_path(station.milestone)
            start = self._kept(station) if self._begun(station) else milestone
            if start.is_file():
                command.append(f"--continue_from={start}")
        return command

    def _begun(self, station: Station) -> bool:
        """Returns whether a station's folder holds something."""
        folder = self.workdir / station.name
        return folder.is_dir() and any(folder.iterdir())

    def _kept(self, station: Station) -> Path:
        """Returns the path of the copy of the milestone from which a station's run began."""
        return self.workdir / f"{station.name}.milestone{Path(station.milestone).suffix}"

    def _keep_milestone(self, station: Station) -> None:
        """Copies the milestone of a run that is about to begin; without one, deletes an old copy.

        Raises:
            UserError: it cannot be copied.
        """
        if self._begun(station) or not station.milestone:
            return
        kept, milestone = self._kept(station), files.user_path(station.milestone)
        kept.unlink(missing_ok=True)
        if milestone.is_file():
            files.write(kept, milestone.read_bytes())

    def is_done(self, station: Station) -> bool:
        """Returns whether a station has ended, with the present inputs and command.

        Raises:
            UserError: it has ended with other inputs or another command.
        """
        before = self.record.get(station.name)
        if before is None or "output" not in before or not self.output(station.name).exists():
            return False
        changed = [
            name for name in station.reads if before["inputs"].get(name) != self._digest(name)
        ]
        if before["command"] != list(station.command):
            changed.append("its command")
        if changed:
            raise UserError(
                f"the station {station.name} was made with another {' and '.join(changed)}; delete "
                f"{self.workdir / station.name} to make it again"
            )
        return True

    def run(self, station: Station) -> None:
        """Runs a station's command or calls its function, and records the station.

        Raises:
            UserError: the command failed, or was stopped by a signal, after which a training ends
                with status 0 and without its output. The seconds are recorded nevertheless.
        """
        command, begun = self.command(station), time.time()
        self._keep_milestone(station)
        folder, status = self.workdir / station.name, 1
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if station.call is None:
                status = subprocess.run([sys.executable, "-m", *command]).returncode
            else:
                station.call(folder)
                status = 0
        finally:
            made = status == 0 and self.output(station.name).exists()
            self._note(station, time.time() - begun, done=made)
        if status == 0 and not made:
            raise UserError(
                f"the station {station.name} was stopped; give the same command again to go on"
            )
        if status:
            raise UserError(
                f"the station {station.name} ended with status {status}; mend what it says, and "
                "give the same command again"
            )

    def _note(self, station: Station, seconds: float, done: bool) -> None:
        """Records the seconds of a station and, if it is done, the digests of its inputs and
        output.
        """
        # The seconds of stopped attempts are added.
        seconds += self.record.get(station.name, {}).get("seconds", 0.0)
        entry: dict[str, Any] = {"command": list(station.command), "seconds": round(seconds, 2)}
        if done:
            entry |= {
                "inputs": {name: self._digest(name) for name in station.reads},
                "output": self._digest(station.name),
                "hardware": hardware(),
                "commit": commit(),
            }
        self.record[station.name] = entry
        files.write(self._path, json.dumps(self.record, indent=2) + "\n")

    def _digest(self, name: str) -> str:
        """Returns 12 hex digits of a sha256 over the output of a station: the contents of a file,
        or of the JSON files directly in a folder.
        """
        path, sha = self.output(name), hashlib.sha256()
        parts: Iterable[Path] = sorted(path.glob("*.json")) if path.is_dir() else [path]
        for part in parts:
            sha.update(part.name.encode() + b"\0" + part.read_bytes())
        return sha.hexdigest()[:12]
