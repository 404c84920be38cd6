"""PhyWorld's experiment, whole, at a tiny size: tokenizer, latents, model, scores beside the
paper's.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sora_jax import weights
from sora_jax.modality import FORMATS

ROOT = Path(__file__).parents[2]
TOKENIZER = (
    "train.steps=30,train.batch_size=2,tokenizer.fine_width=8,tokenizer.coarse_width=16,"
    "tokenizer.encoder_coarse=1,tokenizer.decoder_coarse=1"
)
MODEL = (
    "train.steps=4,train.batch_size=2,train.log_every=1,"
    "model.depth=1,model.width=48,model.heads=2,model.dtype=float32"
)


@pytest.mark.slow
def test_the_command_ends_in_scores(tmp_path):
    command = [
        sys.executable,
        "-m",
        "experiments.phyworld",
        "--task=uniform",
        f"--output={tmp_path}",
        "--num_clips=8",
        "--num_prompts=2",
        f"--tokenizer={TOKENIZER},tokenizer.decoder_fine=1,data.clips=8",
        f"--model={MODEL}",
        "--evaluate=steps=2,nearest_pool=4,batch=2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert done.returncode == 0, done.stderr
    read = weights.load_weights(tmp_path / "model" / "weights.safetensors", "st_dit")
    assert (
        read.metadata["data"]["family"] == "phyworld_uniform_30k"
        and read.metadata["formats"] == [FORMATS["phyworld"].to_dict()]
        and read.metadata["text_length"] == 1
    )
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())["phyworld"]
    own, other = scores["uniform_id_error"], scores["parabola_id_error"]
    assert (
        other["status"] == "not trained" and other["value"] is None and "model" not in other["rows"]
    )
    assert own["n"] + sum(own["unscored"].values()) == 2 and "status" not in own
    for name in ("uniform", "parabola", "collision"):
        rows = scores[f"{name}_ood_error"]["rows"]
        assert rows["ground truth"]["value"] < 0.04 < rows["copy last frame"]["value"]
    # the task needs no learning
    assert scores["uniform_ood_error"]["rows"]["linear extrapolation"]["value"] < 0.05
    assert scores["parabola_id_error"]["rows"]["linear extrapolation"]["value"] > 0.5
    assert "paper, S" in done.stdout and "0.0221" in done.stdout
