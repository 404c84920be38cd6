"""docs/examples/own_attention.py: who sees whom, and its weights name it, and need it."""

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
from sora_jax.models.attention_patterns import ATTENTION, VideoTokens, blocks
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.nn.attention import over_time
from sora_jax.nn.layout import NO_SHARDING
from sora_jax.registry import forget_file, load_module, user_modules

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_attention.py"
SMALL = {
    **{"depth": 1, "width": 16, "heads": 2, "audio_width": 8, "audio_heads": 2, "text_width": 8},
    **{"text_heads": 2, "exchange_width": 8, "exchange_heads": 2, "text_layers": 1},
}


@pytest.fixture
def sliding():
    forget_file(EXAMPLE)
    load_module(str(EXAMPLE))
    yield
    ATTENTION.pop("sliding", None)


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


def test_each_latent_sees_those_within_reach(sliding):
    times = np.array([0.06, 0.4, 0.9, 1.4, 1.9, 2.4])
    config = STDiTConfig(attention="sliding", **SMALL)
    q, k, v = jax.random.normal(jax.random.key(0), (3, 1, 6, 4, 2, 8))
    scales = np.ones(8), np.ones(8)

    def block(times, visible=None):
        return blocks(VideoTokens(config, times, (6, 2, 2), NO_SHARDING, visible, 0))[1]

    for visible in (None, np.arange(6)[None] < 5):
        phi, over = block(times, visible)
        before = over(q, k, v, *scales, phi)
        for i in range(6):
            after = over(q, k, v.at[:, i].add(1.0), *scales, phi)
            seen = np.abs(after - before).max((0, 2, 3, 4)) > 1e-3
            near = np.abs(times - times[i]) <= 0.75
            assert seen.tolist() == (near & (visible is None or i < 5)).tolist()
    phi, over = block(times / 9)  # all within reach: as `pure`
    np.testing.assert_allclose(
        over(q, k, v, *scales, phi), over_time(q, k, v, *scales, phi), atol=2e-6
    )


def test_it_computes_something_else(sliding):
    def made(pattern):
        model = STDiT(STDiTConfig(attention=pattern, **SMALL), nnx.Rngs(0))
        params = nnx.state(model, nnx.Param)  # heads and gates begin at zero
        nnx.update(model, jax.tree.map(lambda x: x + 0.1, params))
        return np.asarray(jax.jit(lambda: evaluation(model))()["video"])

    assert np.abs(made("sliding") - made("pure")).max() > 1e-4


def test_its_weights_name_it_and_need_it(sliding, tmp_path):
    config = STDiTConfig(attention="sliding", **SMALL)
    model = STDiT(config, nnx.Rngs(0))
    path = tmp_path / "weights.safetensors"
    weights.save_weights(path, "st_dit", nnx.state(model, weights.STORED), config, {})
    assert weights.load_model(path)[0].config.attention == "sliding"
    command = [sys.executable, "-m", "experiments.sample", "--prompt=a ball", f"--weights={path}"]
    done = subprocess.run(
        [*command, f"--output_dir={tmp_path}/out"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "attention='sliding' is not registered" in done.stderr


def test_other_processes_are_told_to_load_it(sliding):
    assert str(EXAMPLE) in user_modules()
    ATTENTION.pop("sliding")
    assert str(EXAMPLE) not in user_modules()


def test_the_name_is_taken_once(sliding, tmp_path):
    other = shutil.copy(EXAMPLE, tmp_path / "other.py")
    with pytest.raises(UserError, match="'sliding' is registered twice"):
        load_module(str(other))
