"""The costs of a model, against counts made another way."""

import dataclasses

import jax
import pytest
from flax import nnx

from sora_jax.modality import FORMATS
from sora_jax.models.cost import measure, quantity, report
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT

NANO = PRESETS["nano"]


@pytest.fixture(scope="module")
def plain():
    return measure(NANO, FORMATS["nano"], batch_size=2, text_length=16)


def test_nano_counts(plain):
    model = nnx.eval_shape(lambda: STDiT(NANO, nnx.Rngs(0)))
    assert sum(plain.parameters.values()) == sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert all(plain.parameters.values())
    assert plain.tokens == {"video": 5 * 4 * 4, "sound": 54, "text": 17}
    # A linear map costs 2 FLOPs per parameter and token, twice that again for its gradients; attention comes on top.
    video = sum(n for part, n in plain.parameters.items() if "blocks" in part)
    assert plain.forward > 2 * 2 * 0.8 * video * plain.tokens["video"]
    assert 2.8 < plain.step / plain.forward <= 3.0
    assert plain.recomputed == 0


def test_remat_costs_about_a_forward_pass_and_keeps_little(plain):
    remat = measure(dataclasses.replace(NANO, remat=True), FORMATS["nano"], batch_size=2, text_length=16)
    assert (remat.forward, remat.step) == (plain.forward, plain.step)
    assert 0.7 * plain.forward < remat.recomputed < plain.forward
    assert remat.activations < 0.5 * plain.activations


def test_report_says_it_in_words(plain):
    text = report(NANO, FORMATS["nano"], batch_size=2, text_length=16)
    assert "3 pairs of width 192" in text and "3.97 M" in text and "training step, batch 2" in text
    assert quantity(plain.step) in text
    assert [quantity(x) for x in (0, 999, 1234, 3_967_040, 1.4e13)] == ["0", "999", "1.23 k", "3.97 M", "14 T"]
    assert quantity(59_100_000_000, "B") == "59.1 GB"
