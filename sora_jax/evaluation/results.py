"""Folders of results. Each belongs to one measurement (of one model with given settings), so that
results of two measurements never mix.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sora_jax import config, environment, files
from sora_jax.errors import UserError

RECORD, MADE_WITH = "measurement.json", "made_with.json"


def claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Assigns a folder to a measurement, or checks that it already belongs to it.

    The settings are kept in measurement.json of the folder.

    Args:
        folder: an existing folder.
        identity: settings that identify the measurement, as JSON values.

    Raises:
        UserError: the folder holds another measurement (the message names the settings that differ)
            or other files.
    """
    record = folder / RECORD
    results = [
        entry for entry in folder.iterdir() if entry != record and not entry.name.startswith(".")
    ]
    if not results:  # without results, the settings may still change
        files.write(record, json.dumps(config.to_dict(identity), indent=2) + "\n")
        return
    if not record.exists():
        raise UserError(
            f"{folder} is not empty and holds no measurement of this version; give a new or "
            "empty folder"
        )
    try:
        old = json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{record} cannot be read; give another folder") from None
    if changed := config.differences(old, identity):
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise UserError(
            f"{folder} holds another measurement: {', '.join(changed[:3])}{more}; give another "
            "folder, or the same settings to go on"
        )


def sign(folder: Path) -> None:
    """Writes made_with.json into a folder of results: the command, hardware, commit, versions and
    date that they were made with.
    """
    files.write(folder / MADE_WITH, json.dumps(environment.record(), indent=2) + "\n")
