"""Arms of equal FLOPs."""

import dataclasses

import pytest

from sora_jax.ablations import budget
from sora_jax.errors import UserError
from sora_jax.models.st_dit_config import STDiTConfig
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig
from sora_jax.training.run import Run

SMALL = STDiTConfig(
    depth=4, width=32, heads=2, audio_width=16, audio_heads=1, exchange_width=16, exchange_heads=1,
    text_width=16, text_heads=1, text_layers=1, frame_tokens=1,
)  # fmt: skip
RUN = Run(
    model=SMALL,
    train=TrainConfig(steps=1000, batch_size=2),
    optim=OptimConfig(muon=True, warmup=100, ema=0.99),
)


def with_model(run, **fields):
    return dataclasses.replace(run, model=dataclasses.replace(run.model, **fields))


def test_flops_are_those_of_all_steps_with_the_optimizer():
    longer = dataclasses.replace(RUN, train=dataclasses.replace(RUN.train, steps=2000))
    assert budget.flops(longer) == 2 * budget.flops(RUN)
    plain = dataclasses.replace(RUN, optim=dataclasses.replace(RUN.optim, muon=False))
    rare = dataclasses.replace(RUN, optim=dataclasses.replace(RUN.optim, accumulate=4))
    assert budget.flops(plain) < budget.flops(rare) < budget.flops(RUN)


@pytest.mark.parametrize(
    "match", ["steps", *(pytest.param(m, marks=pytest.mark.slow) for m in ("depth", "width"))]
)
def test_arms_are_matched_within_two_percent(match):
    target = budget.flops(RUN)
    arm = with_model(RUN, mlp_ratio=7.0)
    found = budget.matched(arm, target, match, "arm")
    assert abs(budget.flops(found) / target - 1) <= budget.TOLERANCE
    changed = {"depth": found.model.depth, "width": found.model.width}
    old = {"depth": arm.model.depth, "width": arm.model.width}
    assert {name for name in old if changed[name] != old[name]} == {match} - {"steps"}
    if match != "steps":  # the steps close what is left of a coarse change
        assert abs(found.train.steps / arm.train.steps - 1) <= budget.COARSE + 0.05
    assert budget.matched(arm, target, "", "arm") is arm


def test_schedules_scale_with_the_steps():
    found = budget.matched(RUN, budget.flops(RUN) / 4, "steps", "arm")
    assert found.train.steps == 250 and found.optim.warmup == 25
    assert found.optim.ema == pytest.approx(0.96)  # as many averages of the run as before


def test_a_budget_that_no_candidate_meets_is_refused():
    with pytest.raises(UserError, match=r"arm big cannot .* depth=\d+ is nearest, \d+.\d% "):
        budget.matched(with_model(RUN, width=256), budget.flops(RUN), "depth", "big")
    short = dataclasses.replace(RUN, train=dataclasses.replace(RUN.train, steps=3))
    with pytest.raises(UserError, match=r"arm odd cannot .* steps=\d is nearest, .* larger"):
        budget.matched(with_model(short, patch=1), budget.flops(short), "steps", "odd")
