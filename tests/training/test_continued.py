"""Runs that go on: one that has ended is made longer, and a file of weights continues its run."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from toy_latents import write_latents
from toy_model import MODEL

from sora_jax import config as config_lib
from sora_jax import weights
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS
from sora_jax.training import metrics
from sora_jax.training.run import Run
from sora_jax.training.train import train
from sora_jax.tree import flatten


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    write_latents(folder / "latents", FORMATS["nano"], 24)
    values = {
        "model": MODEL,
        "data": {"path": str(folder / "latents"), "text_length": 8},
        "optim": {"schedule": "wsd", "warmup": 4, "ema": 0.9},
        "train": {"steps": 10, "batch_size": 2, "log_every": 3, "checkpoint_minutes": 1e6},
    }
    return config_lib.from_dict(Run, values)


@pytest.fixture(scope="module")
def longer(run, tmp_path_factory):
    """A run of 20 steps, trained at once."""
    return train(of_steps(run, 20), tmp_path_factory.mktemp("longer") / "run")


def of_steps(run, steps):
    return dataclasses.replace(run, train=dataclasses.replace(run.train, steps=steps))


def params(trained):
    return flatten(weights.load_weights(trained.weights, "st_dit").params)


def same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, params(ours), params(theirs))


def refusal(*arguments, **options):
    with pytest.raises(UserError) as error:
        train(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_run_of_10_steps_made_20_is_the_run_of_20(run, longer, tmp_path, capsys):
    """Its learning rate had fallen from step 8 on: it goes on from there, to the bit."""
    short = train(run, tmp_path)
    ended = params(short)
    made_longer = train(of_steps(run, 20), tmp_path)
    assert f"continuing from step 8 of {tmp_path}" in capsys.readouterr().err
    same(made_longer, longer)
    assert any((ended[name] != x).any() for name, x in params(longer).items())
    steps = [row["step"] for row in metrics.read(tmp_path / "metrics.jsonl")]
    assert steps == sorted(set(steps)) and steps[-1] == 20
    record = json.loads((tmp_path / "config.json").read_text())["config"]
    assert record["train"]["steps"] == 20 and made_longer.steps == 20
    # and shorter again, from the step before both decays that is left
    message = refusal(run, tmp_path)
    assert "no checkpoint of step 8 or before" in message and "only of 16, 20" in message
    assert json.loads((tmp_path / "config.json").read_text())["config"] == record
    again = train(of_steps(run, 24), tmp_path)
    assert again.steps == 24 and "continuing from step 16" in capsys.readouterr().err


def test_a_cosine_over_all_steps_cannot_be_made_longer(run, tmp_path):
    cosine = dataclasses.replace(run, optim=dataclasses.replace(run.optim, schedule="cosine"))
    train(of_steps(cosine, 2), tmp_path)
    message = refusal(of_steps(cosine, 4), tmp_path)
    assert "holds a run of 2 steps, not 4" in message and "optim.schedule=wsd" in message


def test_a_run_goes_on_from_its_file(run, tmp_path):
    """From the weights, the step, the data and the curve of a run that was exported on its way."""
    train(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "10")  # that of step 8 is left
    exported = train(run, tmp_path / "run", export=True)
    file = exported.weights.rename(tmp_path / "kept.safetensors")
    card = weights.load_weights(file, "st_dit").metadata
    assert exported.steps == card["steps"] == 8 and card["curve"][-1][0] == 8

    longer = of_steps(run, 20)
    gone_on = train(longer, tmp_path / "new", continue_from=file)
    rows = metrics.read(tmp_path / "new" / "metrics.jsonl")
    steps = [at for at, _ in card["curve"]]
    assert [row["step"] for row in rows] == [*steps, 9, 12, 15, 16, 18, 20]
    assert all("step_seconds" in row for row in rows if row["step"] != 9)  # 9 compiles
    after = weights.load_weights(gone_on.weights, "st_dit").metadata
    assert after["steps"] == gone_on.steps == 20 and len(after["curve"]) == len(rows)
    same(train(longer, tmp_path / "new", continue_from=file), gone_on)  # it finds that it is done


@pytest.mark.slow
def test_loss_is_back_300_steps_after_the_moments_were_lost(run, tmp_path):
    """The losses of steps 681 to 700 on the same batches and noise, to 1 %."""
    several = {"log_every": 20, "checkpoint_every": 400, "keep": 9}
    run = dataclasses.replace(
        of_steps(run, 700),
        optim=dataclasses.replace(run.optim, lr=3e-3, warmup=100, ema=0.99),
        train=dataclasses.replace(run.train, steps=700, **several),
    )
    train(run, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    for step in (560, 700):  # 560 begins the decay
        shutil.rmtree(tmp_path / "run" / "checkpoints" / str(step))
    exported = train(run, tmp_path / "run", export=True)
    train(run, tmp_path / "new", continue_from=exported.weights)
    whole, new = (metrics.read(tmp_path / name / "metrics.jsonl") for name in ("whole", "new"))
    first, last = whole[0]["loss"], whole[-1]["loss"]
    assert exported.steps == 400 and last < 0.8 * first
    np.testing.assert_allclose(new[-1]["loss"], last, rtol=0.01)


def test_files_that_a_run_cannot_go_on_from(run, longer, tmp_path):
    other = dataclasses.replace(run, optim=dataclasses.replace(run.optim, lr=0.5))
    message = refusal(of_steps(other, 20), tmp_path / "a", continue_from=longer.weights)
    assert "another config: optim.lr (0.001, now 0.5)" in message
    message = refusal(of_steps(run, 40), tmp_path / "b", continue_from=longer.weights)
    assert "at step 20 of a run of 20 steps" in message and "config.train.steps=20" in message
    both = {"continue_from": longer.weights, "init_from": longer.weights}
    assert "exclude each other" in refusal(run, tmp_path / "c", **both)
    shipped = weights.shipped("nano")
    assert "at which position of its data" in refusal(run, tmp_path / "d", continue_from=shipped)
    assert "no checkpoint yet; train first" in refusal(run, tmp_path / "e", export=True)
    assert not any((tmp_path / name / "config.json").exists() for name in "abcde")
