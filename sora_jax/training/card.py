"""The model card of trained weights: the metadata stored in their file about the training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sora_jax import config as config_lib
from sora_jax.environment import hardware
from sora_jax.training import metrics
from sora_jax.training.run import Run


def card(
    run: Run,
    identity: Mapping[str, Any],
    rows: Sequence[Mapping[str, float]],
    data: Mapping[str, Any],
    tokenizers: Mapping[str, str],
    words: Sequence[str],
    steps: int,
) -> dict[str, Any]:
    """Returns the model card of a run, as JSON values.

    Args:
        run: the run.
        identity: the run's identity as JSON values (`workdir.open_workdir`): its configuration,
            the fingerprint of its initial weights and the identity of its data.
        rows: the rows of metrics of the run.
        data: description of the latents that the model was trained on.
        tokenizers: fingerprints by kind.
        words: the known words of the vocabulary.
        steps: training steps done.
    """
    names = ("source", "split", "count", "world_version", "family", "family_version", "style")
    # Only the folder's name: a published file must not reveal the paths of this machine.
    known = {**identity, "data": {**identity["data"], "path": Path(run.data.path).name}}
    return {
        "run": known,
        "run_fingerprint": config_lib.fingerprint(identity),
        "seed": run.train.seed,
        "steps": steps,
        "hardware": hardware(),
        "hours": metrics.hours(rows),
        "curve": metrics.thin(rows),
        "data": {name: data[name] for name in names if name in data},
        "format": run.data.format,
        "tokenizers": dict(tokenizers),
        "words": tuple(words),
        "text_length": run.data.text_length,
    }
