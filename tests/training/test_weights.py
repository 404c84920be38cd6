"""Weights on disk: what is written is read, and what was not written by us is refused."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import save_file

from sora_jax import weights
from sora_jax.errors import UserError
from sora_jax.tree import flatten


@dataclasses.dataclass(frozen=True)
class NetConfig:
    width: int = 3
    sides: tuple[int, ...] = (1, 2)


class Net(nnx.Module):
    def __init__(self, config, rngs):
        self.layers = nnx.List(
            [nnx.Linear(config.width, config.width, rngs=rngs) for _ in range(12)]
        )
        self.table = nnx.Variable(jnp.arange(4.0))

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x + self.table.sum()


@pytest.fixture
def saved(tmp_path):
    net = Net(NetConfig(), nnx.Rngs(7))
    net.table[...] = jnp.full(4, 9.0)  # measured after construction, like a tokenizer's statistics
    path = tmp_path / "net.safetensors"
    fingerprint = weights.save_weights(
        path,
        "st_dit",
        nnx.state(net, weights.STORED),
        NetConfig(),
        {"steps": 5, "curve": [[1, 0.5]]},
    )
    return net, path, fingerprint


def test_round_trip(saved):
    net, path, fingerprint = saved
    read = weights.load_weights(path, "st_dit")
    assert (read.config, read.metadata) == (
        {"width": 3, "sides": [1, 2]},
        {"steps": 5, "curve": [[1, 0.5]]},
    )
    assert read.fingerprint == fingerprint and len(fingerprint) == 12
    x = jnp.ones((2, 3))
    np.testing.assert_array_equal(weights.build(Net, NetConfig(), read)(x), net(x))
    assert not list(path.parent.glob(".*"))


def test_half_precision_comes_back_as_float32(saved, tmp_path):
    net, _, fingerprint = saved
    half = tmp_path / "half.safetensors"
    assert (
        weights.save_weights(
            half, "st_dit", nnx.state(net, weights.STORED), NetConfig(), {}, dtype=np.float16
        )
        != fingerprint
    )
    read = weights.load_weights(half, "st_dit")
    for x in flatten(read.params).values():
        assert x.dtype == jnp.float32
    kernel = net.layers[11].kernel[...]
    np.testing.assert_array_equal(
        read.params["layers"]["11"]["kernel"], kernel.astype(jnp.float16).astype(jnp.float32)
    )


def test_fingerprint_is_of_kind_config_and_numbers(saved, tmp_path):
    net, _, fingerprint = saved
    params, values = nnx.state(net, weights.STORED), {"sides": [1, 2], "width": 3}

    def write(kind, params, config, metadata):
        return weights.save_weights(tmp_path / "other", kind, params, config, metadata)

    assert write("st_dit", nnx.to_pure_dict(params), values, {"other": 1}) == fingerprint, (
        "order of keys and metadata do not count"
    )
    assert write("st_dit", params, values | {"width": 4}, {}) != fingerprint, (
        "a field that shapes no tensor counts"
    )
    assert write("video_tokenizer", params, values, {}) != fingerprint
    nudged = jax.tree.map(lambda x: x.at[0].add(1e-6) if x.ndim == 1 else x, params)
    assert write("st_dit", nudged, values, {}) != fingerprint


def test_an_altered_config_is_refused(saved, tmp_path):
    data = saved[1].read_bytes()
    altered = data.replace(rb"\"width\": 3", rb"\"width\": 4")
    assert altered != data
    (tmp_path / "altered").write_bytes(altered)
    with pytest.raises(UserError, match="altered is damaged"):
        weights.load_weights(tmp_path / "altered", "st_dit")


def test_the_shipped_files():
    """Small enough for a package, readable, made for each other, and without a word about the
    machine that made them.
    """
    files = list(weights.shipped("nano").parent.glob("*.safetensors"))
    assert {f.stem for f in files} == set(weights.KINDS.values())
    assert sum(f.stat().st_size for f in files) < 20e6
    read = {
        kind: weights.load_weights(weights.shipped(name), kind)
        for kind, name in weights.KINDS.items()
    }
    assert read["st_dit"].metadata["tokenizers"] == {
        k: read[k].fingerprint for k in ("video_tokenizer", "audio_tokenizer")
    }
    for file in files:
        with safe_open(file, "numpy") as opened:
            header = json.dumps(opened.metadata())
        assert not (found := re.search(r"(?<![\w.])([/~]/?\w|[A-Za-z]:\\)", header)), (
            file.name,
            header[found.start() - 30 :][:90],
        )


def test_refuses_what_is_not_ours(saved, tmp_path):
    _, path, _ = saved
    cases = {
        "absent.safetensors": (None, "no weights at"),
        "text.safetensors": (b"hello, this is no tensor file", "not a readable safetensors"),
        "empty.safetensors": (b"", "not a readable safetensors"),
        "short.safetensors": (path.read_bytes()[:-100], "not a readable safetensors"),
    }
    flipped = bytearray(path.read_bytes())
    flipped[-3] ^= 0x10
    cases["flipped.safetensors"] = (bytes(flipped), "is damaged")
    for name, (data, message) in cases.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=message) as error:
            weights.load_weights(tmp_path / name, "st_dit")
        assert name in str(error.value) and "\n" not in str(error.value)
    save_file({"a": np.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="another project"):
        weights.load_weights(tmp_path / "foreign.safetensors", "st_dit")
    with pytest.raises(UserError, match="holds weights of kind st_dit, not video_tokenizer"):
        weights.load_weights(path, "video_tokenizer")


def test_refuses_what_does_not_fit(saved):
    read = weights.load_weights(saved[1], "st_dit")
    with pytest.raises(UserError, match=r"layers/0/bias is \(3,\), the model needs \(4,\)"):
        weights.build(Net, NetConfig(width=4), read)
    read.params["layers"]["99"] = read.params["layers"].pop("11")
    with pytest.raises(
        UserError, match="lacks layers/11/bias, layers/11/kernel and has extra layers/99/bias"
    ):
        weights.build(Net, NetConfig(), read)


def test_nan_and_overflow_are_not_written(saved, tmp_path):
    path = tmp_path / "bad.safetensors"
    with pytest.raises(UserError, match="NaN"):
        weights.save_weights(path, "st_dit", {"a": np.array([1.0, np.nan])}, {}, {})
    with pytest.raises(UserError, match="does not fit float16"):
        weights.save_weights(path, "st_dit", {"a": np.array([1e6])}, {}, {}, dtype=np.float16)
    assert not path.exists()
