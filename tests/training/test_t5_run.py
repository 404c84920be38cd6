"""A model trains on features of T5, and generates with them."""

import dataclasses

import numpy as np
import pytest
import tiny_t5
from toy_latents import write_latents
from toy_model import MODEL

from sora_jax import config as config_lib
from sora_jax import weights
from sora_jax.data.t5_prompts import T5Prompts
from sora_jax.errors import UserError
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import FORMATS
from sora_jax.models.t5 import T5
from sora_jax.pipelines.load import load_pipeline
from sora_jax.pipelines.request import Request
from sora_jax.training.run import Run
from sora_jax.training.train import train

pytestmark = pytest.mark.slow
pytest.importorskip("tokenizers.models", reason="the extra `t5` is not installed")


def run_on(folder, t5, **model):
    shipped = {
        kind: weights.load_weights(weights.shipped(kind), kind).fingerprint
        for kind in ("video_tokenizer", "audio_tokenizer")
    }
    format = dataclasses.replace(FORMATS["nano"], height=16, width=16)
    path = write_latents(folder / "latents", format, 8, tokenizers=shipped)
    values = {
        "model": {**MODEL, **model},
        "data": {"path": str(path), "height": 16, "width": 16, "text_length": 8},
        "train": {"steps": 2, "batch_size": 4, "log_every": 1},
        "text": {"t5": str(t5)},
    }
    return config_lib.from_dict(Run, values)


def test_it_trains_continues_and_generates(tmp_path, monkeypatch):
    folder = tiny_t5.write(tmp_path / "t5")
    run = run_on(tmp_path, folder)
    trained = train(run, tmp_path / "run")
    assert np.isfinite(trained.loss)
    assert (tmp_path / "run" / "text" / "0" / "features.f16").stat().st_size == 2 * 6 * 8
    card = weights.load_weights(trained.weights, "st_dit")
    assert card.config["text_features"] == 8 and "text/embedding/kernel" not in card.params
    assert card.metadata["text_encoder"]["fingerprint"] == T5(folder).fingerprint

    # a moved folder is the same encoder; another encoder is another run
    moved = folder.rename(tmp_path / "moved")
    again = dataclasses.replace(run, text=dataclasses.replace(run.text, t5=str(moved)))
    assert train(again, tmp_path / "run").fingerprint == trained.fingerprint
    other = tiny_t5.write(tmp_path / "other", seed=1)
    other_run = dataclasses.replace(run, text=dataclasses.replace(run.text, t5=str(other)))
    with pytest.raises(
        UserError, match=r"have changed: dataset.text_encoder \(\w{12}, now \w{12}\)"
    ):
        train(other_run, tmp_path / "run")

    with pytest.raises(UserError, match=r"the first weights read T5 \w{12}, and .*other is"):
        train(other_run, tmp_path / "new", init_from=trained.weights)

    with pytest.raises(UserError, match=r"through T5 \w{12} \(folder moved\); give that folder"):
        load_pipeline(trained.weights)
    with pytest.raises(UserError, match=r"was trained with T5 .*other is .*; give the one"):
        load_pipeline(trained.weights, text_encoder=other)
    with pytest.raises(UserError, match="the model embeds words itself; leave text_encoder out"):
        load_pipeline(text_encoder=moved)
    pipeline = load_pipeline(trained.weights, text_encoder=moved)
    assert isinstance(pipeline.text_tokenizer, T5Prompts)
    sampler = SamplerConfig(steps=2)
    red, blue = (
        pipeline.generate(Request(f"a {word} ball", sampler=sampler)) for word in ("red", "blue")
    )
    assert red.frames.shape == (17, 16, 16, 3) and np.isfinite(blue.samples).all()


def test_what_does_not_fit_is_refused(tmp_path):
    folder = tiny_t5.write(tmp_path / "t5")
    with pytest.raises(UserError, match=r"gives 8 features, and model.text_features is 16"):
        train(run_on(tmp_path, folder, text_features=16), tmp_path / "run")
    without = dataclasses.replace(run_on(tmp_path, "", text_features=16))
    with pytest.raises(UserError, match="text_features=16 without an encoder that gives them"):
        train(without, tmp_path / "run")
