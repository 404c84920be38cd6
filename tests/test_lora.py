"""Files of low-rank updates: small, of use with their base alone, and equal to merged weights."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sora_jax import lora as lora_files
from sora_jax import low_rank, weights
from sora_jax.errors import UserError
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT
from sora_jax.training import adapt
from sora_jax.tree import flatten

CARD = {"words": ["a", "red", "teal"], "text_length": 5, "formats": [], "steps": 3}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A base with two words, updates of it with a third, and the folder."""
    folder = tmp_path_factory.mktemp("lora")
    config = dataclasses.replace(
        PRESETS["nano"], depth=1, width=32, heads=1, audio_width=32, audio_heads=1, vocabulary=20
    )
    shapes = nnx.state(nnx.eval_shape(lambda: STDiT(config, nnx.Rngs(0))), nnx.Param)
    rng = np.random.default_rng(0)
    # By NumPy: JAX would compile a program for each shape.
    state = jax.tree.map(lambda x: 0.2 * rng.normal(size=x.shape).astype(np.float32), shapes)
    path = folder / "base.safetensors"
    weights.save_weights(path, "st_dit", state, config, {"words": ["a", "red"]}, np.float16)
    base = weights.load_weights(path, "st_dit")
    begin = functools.partial(adapt.begin, config=adapt.AdaptConfig(lora_rank=2), new_words=1)
    lora = jax.eval_shape(lambda x: begin(x, key=jax.random.key(0)), state)["lora"]
    lora = jax.tree.map(lambda x: 0.1 * rng.normal(size=x.shape).astype(np.float32), lora)
    lora_files.save_lora(folder / "lora.safetensors", lora, base, CARD)
    return folder, base, lora


def outputs(model, config):
    key = jax.random.key(0)
    z = {"video": jax.random.normal(key, (1, 2, 4, 4, 16)), "audio": jnp.ones((1, 3, 64))}
    levels = {name: jnp.full(x.shape[:2], 0.5) for name, x in z.items()}
    tokens = jnp.array([[1, 2, 3, 5, 0]])
    times = {"video": np.arange(2.0), "audio": np.arange(3.0)}
    return model(z, levels, {"tokens": tokens, "mask": tokens > 0}, times)


def test_merged_equals_both_files_together(files):
    folder, base, _ = files
    merged = folder / "merged.safetensors"
    lora_files.merge(folder / "lora.safetensors", merged, folder / "base.safetensors")
    one, both = (
        weights.load_model(merged),
        lora_files.load_model(folder / "base.safetensors", folder / "lora.safetensors"),
    )
    for a, b in zip(*(outputs(m, w.config).values() for m, w in (one, both)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    plain, _ = weights.load_model(folder / "base.safetensors")
    assert one[1].metadata["words"] == ["a", "red", "teal"] and one[1].config["vocabulary"] == 21
    difference = outputs(plain, base.config)["video"] - outputs(one[0], one[1].config)["video"]
    assert float(jnp.abs(difference).max()) > 1e-3


def test_old_rows_stay_and_the_new_one_is_trained(files):
    folder, base, lora = files
    found = lora_files.with_lora(base, folder / "lora.safetensors")
    old = np.asarray(flatten(base.params)[low_rank.EMBEDDING])
    new = np.asarray(flatten(found.params)[low_rank.EMBEDDING])
    np.testing.assert_array_equal(new[:3], old[:3])
    np.testing.assert_array_equal(new[4:], old[3:])
    assert np.abs(new[3]).sum() > 0 and len(new) == len(old) + 1
    assert found.fingerprint.startswith(f"{base.fingerprint}+")
    kernel = "pairs/audio/mlp/up/kernel"
    expected = flatten(base.params)[kernel] + lora[kernel]["a"] @ lora[kernel]["b"]
    np.testing.assert_allclose(flatten(found.params)[kernel], expected, atol=1e-3)


def test_other_weights_are_refused(files, tmp_path):
    folder, base, _ = files
    params = jax.tree.map(lambda x: x + 1, base.params)
    other = tmp_path / "other.safetensors"
    weights.save_weights(other, "st_dit", params, base.config, base.metadata)
    with pytest.raises(UserError, match=f"updates the weights {base.fingerprint}, not .* give"):
        lora_files.load_model(other, folder / "lora.safetensors")
    with pytest.raises(UserError, match="kind lora, not st_dit"):
        weights.load_weights(folder / "lora.safetensors", "st_dit")


def test_rank_four_is_a_twentieth_of_nano():
    shapes = nnx.state(nnx.eval_shape(lambda: STDiT(PRESETS["nano"], nnx.Rngs(0))), nnx.Param)
    config = adapt.AdaptConfig(lora_rank=4)
    run = jax.eval_shape(lambda: adapt.begin(shapes_of(shapes), config, jax.random.key(0), 1))
    sizes = [sum(int(np.prod(x.shape)) for x in jax.tree.leaves(t)) for t in (run["lora"], shapes)]
    assert 0.02 < sizes[0] / sizes[1] < 0.046


def shapes_of(shapes):
    return jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
