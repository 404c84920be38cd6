"""The best weights of a run are those that its file gets."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

from sora_jax import config, weights
from sora_jax.tokenizers.audio import AudioTokenizer, AudioTokenizerConfig
from sora_jax.training.best import Best
from sora_jax.training.state import split_module
from sora_jax.training.tokenizer import train_tokenizer
from sora_jax.training.tokenizer_run import TokenizerRun
from sora_jax.tree import flatten

CONFIG = AudioTokenizerConfig(bands=16, width=16, encoder_blocks=1, decoder_blocks=1, iterations=2)


@dataclasses.dataclass
class State:
    step: int
    params: dict


def test_the_file_holds_the_weights_of_the_lowest_loss(tmp_path):
    several = [split_module(AudioTokenizer(CONFIG, rngs=nnx.Rngs(seed)))[0] for seed in range(4)]
    given = {"loss": [3.0, 1.0, 2.0, 0.5]}
    file = tmp_path / "best.safetensors"

    def watched():
        best = Best(file, "audio_tokenizer", CONFIG, {"room": 2.0})
        evaluate = best.watch(lambda state: {"loss": given["loss"][state.step]}, lambda s: s.params)
        return best, evaluate

    best, evaluate = watched()
    assert best.loss == np.inf and best.step == -1 and not file.exists()
    for step in range(3):
        assert evaluate(State(step, several[step])) == {"loss": given["loss"][step]}
    again, evaluate = watched()  # after a kill
    for one in (best, again):
        assert (one.loss, one.step) == (1.0, 1)
        found, step = one.better(2.0, 2, several[2])
        assert step == 1
        for name, x in flatten(several[1]).items():
            np.testing.assert_array_equal(flatten(found)[name], x)
        assert one.better(0.9, 2, several[2]) == (several[2], 2)
    evaluate(State(3, several[3]))
    assert (again.loss, again.step) == (0.5, 3)


def test_the_loss_of_several_sets_is_their_weighted_mean(tmp_path):
    best = Best(tmp_path / "best", "audio_tokenizer", CONFIG, {"a": 1.0, "b": 3.0})
    assert best.loss_of({"a/loss": 1.0, "b/loss": 2.0, "a/other": 9.0}) == 1.75


@pytest.mark.slow
def test_a_training_that_becomes_worse_ends_with_its_best(tmp_path):
    """A rate that destroys the weights: those of an early validation are written."""
    values = {
        "kind": "audio_tokenizer",
        "tokenizer": dataclasses.asdict(CONFIG),
        "data": {"clips": 4},
        "train": {"steps": 6, "batch_size": 2},
        "optim": {"lr": 3.0, "warmup": 4, "ema": 0.0},
        "validation": {"every": 1, "clips": 2},
    }
    run = config.from_dict(TokenizerRun, values)
    trained = train_tokenizer(run, tmp_path)
    kept = weights.load_weights(tmp_path / "best.safetensors", "audio_tokenizer")
    made = weights.load_weights(trained.weights, "audio_tokenizer")
    assert made.metadata["steps"] == 6 and made.metadata["best_step"] == kept.metadata["step"] < 6
    stored = flatten(made.params)
    for name, x in flatten(kept.params).items():
        np.testing.assert_allclose(stored[name], x, rtol=1e-3, atol=1e-4, err_msg=name)
