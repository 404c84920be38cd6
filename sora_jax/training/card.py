"""The model card of trained weights: the metadata stored in their file about the training."""

from collections.abc import Mapping, Sequence
from typing import Any

from sora_jax import config as config_lib
from sora_jax.environment import hardware
from sora_jax.training import metrics
from sora_jax.training.data_config import published
from sora_jax.training.run import Run


def card(
    run: Run,
    identity: Mapping[str, Any],
    rows: Sequence[Mapping[str, float]],
    data: Mapping[str, Mapping[str, Any]],
    words: Sequence[str],
    steps: int,
    position: Mapping[str, Any] | None = None,
    text_encoder: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Returns the model card of a run, as JSON values.

    Args:
        run: the configuration.
        identity: the run's identity as JSON values (`workdir.open_workdir`): its configuration,
            the fingerprint of its initial weights and the identity of its data.
        rows: the rows of metrics of the run.
        data: the description of the latents of each set, by name (`latents.record`).
        words: the known words of the vocabulary.
        steps: training steps done.
        position: the position of the data iterator after them. Default: none, and the run cannot go
            on from the file (`training.start`).
        text_encoder: the identity of T5, if it reads the prompts (`T5Prompts.identity`). Default:
            none.
    """
    names = ("source", "split", "count", "world_version", "family", "family_version", "style")
    names += ("format",)
    sets = {
        name: {entry: one[entry] for entry in names if entry in one} for name, one in data.items()
    }
    first = next(iter(data.values()))
    formats = list(dict.fromkeys(one.clip_format for one in run.data.mixture))
    return {
        "run": {**identity, "data": published(identity["data"])},
        "run_fingerprint": config_lib.fingerprint(identity),
        "seed": run.train.seed,
        "steps": steps,
        **({} if position is None else {"position": dict(position)}),
        "hardware": hardware(),
        "hours": metrics.hours(rows),
        "curve": metrics.thin(rows),
        "data": {"sets": sets} if run.data.sets else next(iter(sets.values())),
        "formats": [format.to_dict() for format in formats],
        "tokenizers": dict(first["tokenizers"]),
        "words": tuple(words),
        "text_length": run.data.text_length,
        **({"text_encoder": dict(text_encoder)} if text_encoder else {}),
    }
