"""What tokenizers keep: all of it if they change nothing, little if they lose the picture."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from sora_jax.evaluation.tokenizer_oracles import Pair, scores_through


class Same(nnx.Module):
    """Latents are the clip."""

    def encode(self, x: jax.Array, *_: object) -> jax.Array:
        return x

    def decode(self, z: jax.Array, *_: object) -> jax.Array:
        return z


class Grey(Same):
    """Every picture is grey."""

    def decode(self, z: jax.Array, *_: object) -> jax.Array:
        return jnp.full_like(z, 0.5)


BOTH = Pair(Same(), Same())


def test_scores_before_and_after():
    oracles, stages = ["tracker", "material"], []
    scores = scores_through(BOTH, 2, oracles, stages.append)
    assert list(scores) == oracles and stages == ["room"]
    for one in scores.values():
        assert one["truth"] == one["decoded"] == 1.0 and one["n"] == 2 and one["low"] < 1.0
    lost = Pair(Grey(), Same())
    scores = scores_through(lost, 2, oracles)
    assert scores["tracker"]["truth"] == 1.0 and scores["tracker"]["decoded"] == 0.0
    assert scores["material"]["decoded"] == 1.0


@pytest.mark.slow
def test_clips_of_a_stage_may_differ_in_format():
    (cuts,) = scores_through(BOTH, 4, ["cuts"]).values()
    assert cuts["truth"] == cuts["decoded"] == 1.0 and cuts["n"] == 4
