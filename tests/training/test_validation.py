"""Validation: held-out clips under the same noise at every call, by set and modality."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from toy_latents import write_latents
from toy_model import MODEL

from sora_jax import config as config_lib
from sora_jax import weights
from sora_jax.data.latents.record import open_set
from sora_jax.flow.loss import FlowConfig, flow_loss
from sora_jax.flow.timesteps import TimestepConfig
from sora_jax.models.st_dit import STDiT
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.training import inputs, metrics
from sora_jax.training.data_config import SetConfig
from sora_jax.training.program import validation_flow
from sora_jax.training.run import Run
from sora_jax.training.tokenizer import train_tokenizer
from sora_jax.training.tokenizer_run import tokenizer_run
from sora_jax.training.train import train

SETS = {"square": {"height": 16, "width": 16, "weight": 3.0}, "wide": {"height": 16, "width": 24}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A mixture of two sets with held-out clips, which are validated every four steps of eight."""
    folder, sets = tmp_path_factory.mktemp("sets"), []
    for name, fields in SETS.items():
        one = {"path": str(folder / name), **fields}
        format = config_lib.from_dict(SetConfig, one).clip_format
        write_latents(folder / name, format, 24)
        write_latents(folder / name / "val", format, 6, split="val")
        sets.append(one)
    values = {
        "model": MODEL,
        "data": {"sets": sets, "text_length": 8},
        "train": {"steps": 8, "batch_size": 4, "log_every": 4, "checkpoint_minutes": 1e6},
        "validation": {"every": 4, "clips": 8, "draws": 2},
    }
    return config_lib.from_dict(Run, values)


def validated(workdir):
    return [row for row in metrics.read(workdir / "metrics.jsonl") if "val/loss" in row]


def test_validation_does_not_depend_on_how_levels_are_trained():
    levels = FlowConfig(output="v", timesteps=TimestepConfig(shift=4.0), shared_level=1.0)
    weighted = FlowConfig(output="v", audio_weight=0.0, couple_dropout=1.0, history_noise=0.0)
    assert validation_flow(levels) == validation_flow(weighted)
    assert validation_flow(levels) != validation_flow(FlowConfig(output="x"))


def test_losses_of_held_out_clips_by_set_and_modality(run, tmp_path):
    trained = train(run, tmp_path / "run")
    rows = validated(tmp_path / "run")
    assert [row["step"] for row in rows] == [4, 8] and rows[0]["val/loss"] != rows[1]["val/loss"]
    square, wide = (f"val/{one.name}/" for one in run.data.sets)
    for row in rows:
        for loss in ("loss", "video_loss", "audio_loss"):
            total = (3 * row[square + loss] + row[wide + loss]) / 4
            np.testing.assert_allclose(row[f"val/{loss}"], total, rtol=1e-5)

    # by hand: the averaged weights, two batches of four of the six clips, two draws of each
    model = STDiT(run.model, rngs=nnx.Rngs(0))
    loaded = weights.load_weights(trained.weights, "st_dit")
    nnx.update(model, weights.fill(nnx.state(model, nnx.Param), loaded.params))
    flow = validation_flow(run.flow)
    assert flow.timesteps == TimestepConfig() and not flow.text_dropout + flow.couple_dropout
    (one, _), folder = run.data.sets, tmp_path / "run"
    folders = inputs.validation_of(run.data, folder, 8)
    words = TextTokenizer.of_vocabulary(loaded.metadata["words"], run.model.vocabulary, 8)
    tokenizers = loaded.metadata["tokenizers"]
    held_out = inputs.held_out_batches(
        run.data,
        folders,
        dict.fromkeys(folders, 4),
        dict.fromkeys(folders, words),
        8,
        tokenizers,
    )
    assert [len(several) for several in held_out.values()] == [2, 2]
    first = held_out[one.name][0]["video"]
    record, _ = open_set(f"{one.path}/val")
    np.testing.assert_array_equal(first[1], inputs.record.unpack(record[1])["video"])

    @nnx.jit
    def loss(model, batch, key):
        return flow_loss(model, batch, key, batch["times"], flow)[0]

    by_hand = [
        loss(model, batch, jax.random.fold_in(jax.random.key(draw), n))
        for n, batch in enumerate(held_out[one.name])
        for draw in range(2)
    ]
    np.testing.assert_allclose(np.mean(by_hand), rows[-1][square + "loss"], rtol=2e-3)  # float16


def test_validation_changes_no_weight_and_may_change(run, tmp_path):
    """It is no part of the run's identity: a run goes on with another one, or none."""
    with_it = train(run, tmp_path / "with")
    without = dataclasses.replace(run, validation=dataclasses.replace(run.validation, every=0))
    plain = train(without, tmp_path / "without")
    assert with_it.fingerprint == plain.fingerprint and with_it.loss == plain.loss
    assert not validated(tmp_path / "without")
    assert train(run, tmp_path / "without").fingerprint == plain.fingerprint


def test_sets_without_held_out_clips_are_named(run, tmp_path, capsys):
    path = write_latents(tmp_path / "alone", run.data.sets[0].clip_format, 8)
    alone = dataclasses.replace(run.data.sets[0], path=str(path))
    itself = dataclasses.replace(run.data.sets[1], split="val")
    data = dataclasses.replace(run.data, sets=(alone, itself, run.data.sets[1]))
    assert list(inputs.validation_of(data, tmp_path, 8)) == [run.data.sets[1].name]
    first, second = capsys.readouterr().err.splitlines()
    assert f"{alone.name} has no validation: no latents in {path / 'val'}; make them with" in first
    assert "it trains on the split val itself" in second


@pytest.mark.slow
def test_clips_of_playhouse_are_made(run, tmp_path):
    """Those of the split val, with the shipped tokenizers; a tokenizer is validated on its own."""
    values = {"model": MODEL, "data": {"clips": 4}, "train": {"steps": 1, "batch_size": 2}}
    values["validation"] = {"every": 1, "clips": 3}
    run = config_lib.from_dict(Run, values)
    train(run, tmp_path / "run")
    (row,) = validated(tmp_path / "run")
    (folder,) = inputs.validation_of(run.data, tmp_path / "run", 3).values()
    assert open_set(folder)[1]["split"] == "val" and open_set(folder)[1]["count"] == 3
    assert row["val/video_loss"] > 0 and not any("@" in name for name in row)

    tokenizer = {
        "bands": 16,
        "width": 16,
        "encoder_blocks": 1,
        "decoder_blocks": 1,
        "iterations": 2,
    }
    values |= {"kind": "audio_tokenizer", "tokenizer": tokenizer, "optim": {"ema": 0.0}}
    del values["model"]
    done = train_tokenizer(tokenizer_run(values), tmp_path / "tokenizer")
    rows = metrics.read(tmp_path / "tokenizer" / "metrics.jsonl")
    (row,) = [row for row in rows if "val/loss" in row]
    assert done.scores["loss"] > 0
    np.testing.assert_allclose(row["val/loss"], done.scores["loss"], rtol=0.5)  # 3 clips, and 4
