"""The best weights of a run, by its loss on held-out clips."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import weights
from sora_jax.training.state import TrainState


class Best:
    """The averaged weights of a run whose validation loss is the lowest so far, in a file.

    A run that continues after a kill finds the file, and the loss in it.
    """

    def __init__(self, path: Path, kind: str, config: Any, shares: Mapping[str, float]) -> None:
        """Reads the loss of an earlier part of the run, if the file is there.

        Args:
            path: the .safetensors file.
            kind: the kind of weights, a key of `weights.KINDS`.
            config: the configuration of the tokenizer, which is written with its weights.
            shares: the weight of each set of the run in the loss, by name.
        """
        self._path, self._kind, self._config, self._shares = path, kind, config, shares
        stored = weights.load_weights(path, kind).metadata if path.exists() else {}
        self._metadata: dict[str, Any] = stored

    @property
    def loss(self) -> float:
        """The lowest loss so far; infinity without any."""
        return self._metadata.get("loss", np.inf)

    @property
    def step(self) -> int:
        """The step of the lowest loss so far; -1 without any."""
        return self._metadata.get("step", -1)

    def loss_of(self, scores: Mapping[str, float]) -> float:
        """Returns the loss in the metrics of a validation. For several sets it is the mean by their
        weights.
        """
        if len(self._shares) == 1:
            return scores["loss"]
        losses = [scores[f"{name}/loss"] for name in self._shares]
        return float(np.average(losses, weights=list(self._shares.values())))

    def watch(
        self,
        evaluate: Callable[[TrainState], dict[str, float]],
        averaged: Callable[[TrainState], Any],
    ) -> Callable[[TrainState], dict[str, float]]:
        """Returns a function that does what `evaluate` does, and also writes the averaged weights
        if their loss is the lowest so far.

        Args:
            evaluate: training state -> metrics on held-out clips.
            averaged: training state -> its averaged weights.
        """

        def scores(state: TrainState) -> dict[str, float]:
            found = evaluate(state)
            if (loss := self.loss_of(found)) < self.loss:
                self._metadata = {"loss": loss, "step": int(state.step)}
                weights.save_weights(
                    self._path, self._kind, averaged(state), self._config, self._metadata
                )
            return found

        return scores

    def better(self, loss: float, step: int, params: Any) -> tuple[Any, int]:
        """Returns (weights, their step): those in the file if their loss is below `loss`, else
        `params` and `step`.

        Args:
            loss: the validation loss of `params`.
            step: the step of `params`.
            params: the last weights of the run.
        """
        if not self.loss < loss:
            return params, step
        stored = weights.load_weights(self._path, self._kind).params
        return weights.fill(params, stored, str(self._path)), self.step
