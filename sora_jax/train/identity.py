"""A run goes on only as the run it was: the same configuration, the same first weights, the same
data.

`Workdir` refuses any difference by naming its keys; `open_workdir` says more of the two that people
meet: another number of steps, and data that changed under their path.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sora_jax import config as config_lib
from sora_jax.errors import UserError
from sora_jax.train.loop import Workdir

# Fields that are younger than some runs, with what those have: left out where they say so, so that
# old runs can go on.
LATER = {
    ("data", "family"): "room",
    ("tokenizer", "frames_per_latent"): 4,
    ("flow", "first_latents"): 1,
    ("optim", "muon_stacked"): False,
}


def open_workdir(
    path: str | os.PathLike, config: Any, init_from: str | None, dataset: Mapping[str, Any]
) -> Workdir:
    """The directory of a run, new or to be continued.

    Args:
        config: the resolved configuration, a dataclass.
        init_from: fingerprint of the weights that training starts from, or None.
        dataset: what the data hold, found out without making them (`latents.identity`).
    Raises:
        UserError: the directory holds another run, or cannot be used.
    """
    identity = {**config_lib.to_dict(config), "init_from": init_from, "dataset": dict(dataset)}
    # the devices that a run is on today, and what it shows, are not what it is
    for name in ("mesh", "profile", "sample"):
        identity.pop(name, None)
    # A run without it stops at the first damaged clip, and was until then the run with it.
    identity.get("data", {}).pop("skip_damaged", None)
    for (part, name), first in LATER.items():
        if identity.get(part, {}).get(name) == first:
            del identity[part][name]
    changed = config_lib.differences(_begun(path) or identity, identity)
    keys = {line.split()[0] for line in changed}
    if keys == {"train.steps"}:
        old = _begun(path)["train"]["steps"]
        raise UserError(
            f"{path} holds a run of {old} steps, not {config.train.steps}: its learning rate "
            "falls over them all; finish it with "
            f"--config.train.steps={old}, and train on from its weights with "
            f"--init_from={path}/weights.safetensors in another --workdir"
        )
    if keys and all(key.startswith("dataset.") for key in keys):
        raise UserError(
            f"the data of the run in {path} have changed: {', '.join(changed)}; bring back "
            "what it was trained on, or give another --workdir"
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
