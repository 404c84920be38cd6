"""The card of trained weights: what their file says of the training behind them."""

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
    """What a file of weights says of the training behind it, as JSON values.

    Args:
        identity: the run's configuration as JSON values, with what else makes it this run.
        rows: the metrics of the run.
        data: description of the latents that it was trained on.
        tokenizers: fingerprints by kind.
        words: the vocabulary's known words.
    """
    names = ("source", "split", "count", "world_version", "family", "family_version", "style")
    # Where the data lay is no one's business but this machine's.
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
