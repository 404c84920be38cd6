"""The costs of a model, against counts made another way."""

import dataclasses

import jax
import pytest
from flax import nnx

from sora_jax.modality import FORMATS
from sora_jax.models.cost import measure, quantity, report, training_flops, update_flops
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT
from sora_jax.training.optim import OptimConfig, make_optimizer

NANO = PRESETS["nano"]


@pytest.fixture(scope="module")
def plain():
    return measure(NANO, FORMATS["nano"], batch_size=2, text_length=16)


def test_nano_counts(plain):
    model = nnx.eval_shape(lambda: STDiT(NANO, nnx.Rngs(0)))
    assert sum(plain.parameters.values()) == sum(
        x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param))
    )
    assert all(plain.parameters.values())
    assert plain.tokens == {"video": 5 * 4 * 4, "audio": 54, "text": 17}
    # A linear map costs 2 FLOPs per parameter and token, twice that again for its gradients;
    # attention comes on top.
    video = sum(n for part, n in plain.parameters.items() if "blocks" in part)
    assert plain.forward > 2 * 2 * 0.8 * video * plain.tokens["video"]
    assert 2.8 < plain.step / plain.forward <= 3.0
    assert plain.recomputed == 0


def test_every_part_of_a_model_is_counted():
    """Of one with everything: references, memory, step sizes."""
    config = dataclasses.replace(NANO, depth=1, references=2, memory=True, step_sizes=True)
    counted = measure(config, FORMATS["nano"], batch_size=1, text_length=8).parameters
    model = nnx.eval_shape(lambda: STDiT(config, nnx.Rngs(0)))
    assert counted["reference encoder"] > 0
    assert sum(counted.values()) == sum(
        x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param))
    )


def test_remat_costs_about_a_forward_pass_and_keeps_little(plain):
    remat = measure(
        dataclasses.replace(NANO, remat="block"), FORMATS["nano"], batch_size=2, text_length=16
    )
    assert (remat.forward, remat.step) == (plain.forward, plain.step)
    assert 0.7 * plain.forward < remat.recomputed < plain.forward
    assert remat.activations < 0.5 * plain.activations


def test_newton_schulz_is_counted():
    """A matrix a <= b takes five iterations of x x^T, its square and a product with x: 2 a^2 (2 b +
    a).
    """
    shapes = {"up": (3, 8, 24), "down": (24, 8), "square": (5, 5)}
    params = {k: {"kernel": jax.ShapeDtypeStruct(s, "float32")} for k, s in shapes.items()}
    params["bias"] = jax.ShapeDtypeStruct((24,), "float32")
    expected = 5 * (4 * 2 * 8**2 * (2 * 24 + 8) + 2 * 5**2 * (2 * 5 + 5))
    for options in ({}, {"muon_stacked": True}, {"accumulate": 4}):
        optimizer = make_optimizer(OptimConfig(muon=True, **options), 100)
        assert update_flops(optimizer, params) == expected
    assert update_flops(make_optimizer(OptimConfig(), 100), params) == 0


@pytest.mark.slow
def test_report_shows_the_optimizer(plain):
    asked = (NANO, FORMATS["nano"], 2, 16)
    muon, adamw = (make_optimizer(OptimConfig(muon=muon), 100) for muon in (True, False))
    rows = [line.split() for line in report(*asked, muon).splitlines()]
    assert ["optimizer", "update", "16.9", "G"] in rows
    assert ["training", "step,", "batch", "2", *quantity(plain.step).split()] in rows
    rows = [line.split() for line in report(*asked, adamw).splitlines()]
    assert ["optimizer", "update", "(no", "matrix", "products)", "0"] in rows


@pytest.mark.slow
def test_the_state_of_an_optimizer_is_counted():
    """AdamW keeps two moments of each parameter, Muon one of each matrix; both a moving average."""
    muon, adamw = (
        measure(NANO, FORMATS["nano"], 2, 16, make_optimizer(OptimConfig(muon=muon), 100))
        for muon in (True, False)
    )
    optimizer = make_optimizer(OptimConfig(muon=True), 100)
    wanted = (muon.step, muon.optimizer)
    assert training_flops(NANO, FORMATS["nano"], 2, 16, optimizer) == wanted and wanted[1]
    total = sum(adamw.parameters.values())
    assert adamw.optimizer_state == pytest.approx(12 * total, rel=1e-4)
    assert 8 * total < muon.optimizer_state < 9 * total


def test_report_says_it_in_words(plain):
    text = report(NANO, FORMATS["nano"], batch_size=2, text_length=16)
    assert "3 pairs of width 192" in text and "3.97 M" in text and "training step, batch 2" in text
    assert quantity(plain.step) in text and "optimizer" not in text
    assert [quantity(x) for x in (0, 999, 1234, 3_967_040, 1.4e13)] == [
        "0",
        "999",
        "1.23 k",
        "3.97 M",
        "14 T",
    ]
    assert quantity(59_100_000_000, "B") == "59.1 GB"
