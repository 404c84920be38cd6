"""Export for PyTorch: names, fields and refusals, without PyTorch."""

import ast
import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from sora_jax.errors import UserError
from sora_jax.export import to_torch
from sora_jax.modality import FORMATS
from sora_jax.models import attention_patterns
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.pipelines.generate import Pipeline
from sora_jax.tokenizers.audio import AudioTokenizer, AudioTokenizerConfig
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig

SOURCE = to_torch.TEMPLATE.read_text(encoding="utf-8")
MODEL = STDiTConfig(
    depth=3,
    width=8,
    heads=2,
    audio_width=8,
    audio_heads=2,
    exchange_width=8,
    exchange_heads=2,
    text_width=8,
    text_heads=2,
    text_layers=2,
    vocabulary=8,
    memory=True,
    references=2,
)


def drawn(make, config):
    """A module whose every array holds numbers of its own, without compiling anything."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: make(config, rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(0)
    return nnx.merge(
        graphdef, jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), state)
    )


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(
        drawn(STDiT, MODEL),
        drawn(VideoTokenizer, VideoTokenizerConfig(fine_width=8, coarse_width=8)),
        drawn(AudioTokenizer, AudioTokenizerConfig(width=8)),
        TextTokenizer(("a", "ball"), buckets=5, length=4),
    )


def restored(folder):
    """The arrays of sora_jax, from the files of a folder alone."""
    weights = load_file(folder / "weights.safetensors")
    blocks, arrays = {}, {}
    for name, origin in json.loads((folder / "names.json").read_text()).items():
        x = weights.pop(name)
        x = x.transpose(np.argsort(origin["axes"])) if "axes" in origin else x
        if "block" in origin:
            blocks.setdefault(origin["name"], {})[origin["block"]] = x
        else:
            arrays[origin["name"]] = x
    assert not weights, "names.json lacks some"
    return arrays | {name: np.stack([x[i] for i in range(len(x))]) for name, x in blocks.items()}


def test_the_name_map_leads_back_to_every_array(pipeline, tmp_path):
    folder = to_torch.export_torch(pipeline, tmp_path / "out")
    arrays, found = to_torch.arrays_of(pipeline), restored(folder)
    assert found.keys() == arrays.keys()
    for name, x in arrays.items():
        np.testing.assert_array_equal(found[name], x, err_msg=name)
    names = json.loads((folder / "names.json").read_text())
    assert names["model.pairs.2.space.mlp.up.weight"] == {
        "name": "model/pairs/space/mlp/up/kernel",
        "block": 2,
        "axes": [1, 0],
    }
    assert names["video_tokenizer.decoder_fine.1.space.weight"]["axes"] == [3, 2, 0, 1]
    assert (folder / "sora_torch.py").read_text() == SOURCE
    config = json.loads((folder / "config.json").read_text())
    assert config["words"] == ["a", "ball"] and config["formats"] == [FORMATS["nano"].to_dict()]


def test_the_file_knows_every_field_of_the_configurations():
    """A field that is added must be read by the file, ignored with a reason, or refused."""
    read = {
        node.slice.value
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
    }
    configs = {
        "model": STDiTConfig,
        "video_tokenizer": VideoTokenizerConfig,
        "audio_tokenizer": AudioTokenizerConfig,
    }
    for part, config in configs.items():
        fields = {field.name for field in dataclasses.fields(config)}
        ignored = set(to_torch.IGNORED[part])
        assert ignored <= fields and fields - ignored <= read, (part, fields - ignored - read)


def test_the_file_knows_every_pattern_of_the_package():
    ours = {
        name
        for name, pattern in attention_patterns.ATTENTION.items()
        if pattern.__module__ == attention_patterns.__name__
    }
    assert set(to_torch.KNOWN["attention"]) == ours


def test_the_file_imports_neither_jax_nor_this_project():
    imported = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert not imported & {"jax", "jaxlib", "flax", "sora_jax", "kernels"}
    assert {"torch", "numpy", "safetensors"} <= imported


def test_a_pattern_of_a_user_is_refused_by_name(pipeline, tmp_path, monkeypatch):
    monkeypatch.setitem(attention_patterns.ATTENTION, "spiral", attention_patterns.pure)
    config = dataclasses.replace(MODEL, attention="spiral")
    monkeypatch.setattr(pipeline.model, "config", config)
    with pytest.raises(UserError, match="attention='spiral' has no form in PyTorch; there are pu"):
        to_torch.export_torch(pipeline, tmp_path / "out")
    assert not (tmp_path / "out").exists()
