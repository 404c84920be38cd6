"""docs/examples/own_attention.py: it trains, its weights name it, and need it."""

import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from sora_jax import weights
from sora_jax.errors import UserError
from sora_jax.models.attention_patterns import ATTENTION
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.registry import forget_file, load_module, user_modules

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_attention.py"
SMALL = {
    **{"pairs": 1, "width": 16, "heads": 2, "audio_width": 8, "audio_heads": 2, "text_width": 8},
    **{"text_heads": 2, "exchange_width": 8, "exchange_heads": 2, "text_layers": 1},
}


@pytest.fixture
def hybrid():
    forget_file(EXAMPLE)
    load_module(str(EXAMPLE))
    yield
    ATTENTION.pop("hybrid", None)


def evaluation(model):
    keys = jax.random.split(jax.random.key(0), 2)
    latents = {
        "video": jax.random.normal(keys[0], (1, 3, 4, 4, 16)),
        "audio": jax.random.normal(keys[1], (1, 5, 64)),
    }
    levels = {"video": np.full((1, 3), 0.5), "audio": np.full((1, 5), 0.5)}
    text = {"tokens": np.ones((1, 4), np.int32), "mask": np.ones((1, 4), bool)}
    times = {"video": np.arange(3.0), "audio": np.arange(5.0)}
    return model(latents, levels, text, times)


def test_it_computes_something_else(hybrid):
    def made(pattern):
        model = STDiT(STDiTConfig(attention=pattern, **SMALL), nnx.Rngs(0))
        params = nnx.state(model, nnx.Param)  # heads and gates begin at zero
        nnx.update(model, jax.tree.map(lambda x: x + 0.1, params))
        return np.asarray(evaluation(model)["video"])

    pure, hybrid_, full = made("pure"), made("hybrid"), made("full")
    assert np.abs(hybrid_ - pure).max() > 1e-4 and np.abs(hybrid_ - full).max() > 1e-4


def test_its_weights_name_it_and_need_it(hybrid, tmp_path):
    config = STDiTConfig(attention="hybrid", **SMALL)
    model = STDiT(config, nnx.Rngs(0))
    path = tmp_path / "weights.safetensors"
    weights.save_weights(path, "st_dit", nnx.state(model, weights.STORED), config, {})
    assert weights.load_model(path)[0].config.attention == "hybrid"
    command = [sys.executable, "-m", "experiments.sample", "--prompt=a ball", f"--weights={path}"]
    done = subprocess.run(
        [*command, f"--output_dir={tmp_path}/out"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "attention='hybrid' is not registered" in done.stderr


def test_other_processes_are_told_to_load_it(hybrid):
    assert str(EXAMPLE) in user_modules()
    ATTENTION.pop("hybrid")
    assert str(EXAMPLE) not in user_modules()


def test_the_name_is_taken_once(hybrid, tmp_path):
    other = shutil.copy(EXAMPLE, tmp_path / "other.py")
    with pytest.raises(UserError, match="'hybrid' is registered twice"):
        load_module(str(other))
