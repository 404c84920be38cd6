"""Training of large steps, from the configuration to a clip in few steps."""

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


def values(**changes):
    return {
        "model": {**MODEL, "step_sizes": True},
        "flow": {"shortcut": {"every": 2}},
        "train": {"steps": 2, "batch_size": 4, "log_every": 1},
        **changes,
    }


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"model": MODEL}, "set model.step_sizes=True"),
        ({"flow": {"shortcut": {"every": 3}}}, "every=3 does not divide the 4 clips"),
        ({"flow": {"shortcut": {"every": 1}}}, "give every 0, or 2 or more"),
        ({"flow": {"shortcut": {"every": 2, "finest": 12}}}, "finest a power of two"),
    ],
)
def test_settings_that_cannot_be_trained(changes, said):
    with pytest.raises(UserError, match=said):
        config_lib.from_dict(Run, values(**changes))


@pytest.mark.slow
def test_a_run_learns_large_steps_beside_the_flow(tmp_path):
    """From weights without step sizes: those of the steps begin at zero, and leave it."""
    write_latents(tmp_path / "latents", FORMATS["nano"], 16)
    data = {"path": str(tmp_path / "latents"), "text_length": 8}
    plain = config_lib.from_dict(Run, values(data=data, model=MODEL, flow={}))
    first = train(plain, tmp_path / "plain")
    optim = {"lr": 1e-2, "warmup": 0}
    run = config_lib.from_dict(Run, values(data=data, optim=optim))
    done = train(run, tmp_path / "run", init_from=first.weights, partly=True)
    rows = metrics.read(tmp_path / "run" / "metrics.jsonl")
    for row in rows:
        assert row["video_shortcut_loss"] > 0 and row["audio_shortcut_loss"] > 0
        whole = sum(row[f"{m}_loss"] + row[f"{m}_shortcut_loss"] for m in ("video", "audio"))
        assert row["loss"] == pytest.approx(whole / 2, rel=1e-4)
    learnt = weights.load_weights(done.weights, "st_dit")
    assert learnt.config["step_sizes"]
    assert np.abs(learnt.params["video_level"]["step"]["kernel"]).max() > 0
