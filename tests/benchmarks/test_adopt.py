"""Only what is sound is taken over."""

import json
import shutil
import types

import numpy as np
import pytest

from benchmarks import adopt, results
from sora_jax import weights
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.tree import flatten


def row(**changes):
    values = {
        "suite": "temporal_attention", "case": "t16", "impl": "triton", "ran": "a kernel",
        "direction": "forward", "p20_ms": 0.09, "p50_ms": 0.1, "p80_ms": 0.11,
        "percent_of_roofline": 90.0, "peak_bytes": 10, "error": 2e-3, "device": "nvidia_h100",
        "commit": "abc", "versions": {"jax": "0.11.2"},
    }  # fmt: skip
    return values | changes


@pytest.mark.parametrize(
    "changes,reason",
    [
        ({}, None),
        ({"error": None}, None),
        ({"device": "cpu"}, "its device is cpu"),
        ({"device": ""}, "its device is not named"),
        ({"commit": "unknown"}, "its commit is not named"),
        ({"error": 0.2}, "its error is 0.2"),
        ({"error": float("nan")}, "its error is nan"),
        ({"p50_ms": 0.0}, "its times are not positive"),
    ],
)
def test_which_rows_are_refused(changes, reason):
    found = adopt.refusal(row(**changes))
    assert (found is None) == (reason is None) and (reason or "") in (found or "")


def test_rows_are_added_once(tmp_path):
    for one in (row(), row(impl="xla"), row(device="cpu")):
        results.append(tmp_path, one, "rows.jsonl")
    first = adopt.adopt_rows(tmp_path / "rows.jsonl", tmp_path / "into")
    second = adopt.adopt_rows(tmp_path / "rows.jsonl", tmp_path / "into")
    assert first["added"] == 2 and sum(first["refused"].values()) == 1
    assert second["added"] == 0 and second["there before"] == 2
    kept = results.read(tmp_path / "into/nvidia_h100/temporal_attention.jsonl")
    assert [one["impl"] for one in kept] == ["triton", "xla"]


def tuning_row(rows, p50, error=1e-3, **changes):
    use = {"rows": rows, "warps": 4}
    where = {"kernel": "forward", "T": 16, "D": 64}
    more = {"op": "temporal_attention", "kind": "NVIDIA H100 80GB HBM3", "where": where, "use": use}
    return row(p50_ms=p50, error=error, is_heuristic=rows == 64) | more | changes


@pytest.mark.parametrize(
    "fastest,taken", [(0.09, True), (0.099, False), (0.2, False)], ids=["faster", "noise", "slower"]
)
def test_tuned_parameters_must_be_faster(tmp_path, fastest, taken):
    wrong = tuning_row(128, 0.01, error=0.3)
    for one in (tuning_row(64, 0.1), tuning_row(32, fastest), wrong):
        results.append(tmp_path, one, "tuning.jsonl")
    found = adopt.adopt_tuning(tmp_path / "tuning.jsonl", tmp_path / "tuned")
    path = tmp_path / "tuned/temporal_attention/nvidia_h100.json"
    assert path.exists() == taken and len(found) == 1
    if taken:
        (entry,) = json.loads(path.read_text())["entries"]
        assert entry["use"] == {"rows": 32, "warps": 4} and entry["where"]["T"] == 16


def test_the_interval_of_a_difference_is_paired():
    """All prompts gain the same: certain, though prompts differ far more than that."""
    old = np.random.default_rng(0).random(64)
    certain = adopt.compare(old + 0.02, old)
    assert certain["low"] == pytest.approx(0.02, abs=1e-3)
    noise = adopt.compare(old[::-1], old)
    assert noise["low"] < 0 < noise["high"]


def test_a_run_of_tiny_sizes_is_left(tmp_path):
    (tmp_path / "measure.json").write_text(json.dumps({"size": "tiny"}))
    results.append(tmp_path, row(), "rows.jsonl")
    results.append(tmp_path, tuning_row(64, 0.1), "tuning.jsonl")
    adopt.main(str(tmp_path))
    assert json.loads((tmp_path / "adopted.json").read_text()) == {
        "rows": "left: a run of --size=tiny"
    }


@pytest.mark.parametrize(
    "facts,sync,taken",
    [(0.1, 0.0, True), (0.1, -0.2, False), (-0.1, 0.2, False)],
    ids=["better", "out of step", "fewer facts"],
)
def test_better_facts_do_not_excuse_worse_sound(tmp_path, monkeypatch, facts, sync, taken):
    path, new = tmp_path / "nano.safetensors", tmp_path / "new.safetensors"
    shutil.copy(weights.shipped("nano"), path)
    with_noise(path, new)
    kinds = {kind: weights.shipped(kind) for kind in ("video_tokenizer", "audio_tokenizer")}
    monkeypatch.setattr(weights, "shipped", lambda name: kinds.get(name, path))
    usual = np.random.default_rng(0).random(64)

    def scores(which, prompts):
        own = which == new
        return {"facts": usual + facts * own, "sync": usual + sync * own}

    monkeypatch.setattr(adopt, "scores", scores)
    before = path.read_bytes()
    assert adopt.adopt_weights(new, 64)["adopted"] == taken
    assert path.read_bytes() == (new.read_bytes() if taken else before)


def test_clips_that_cannot_be_read_score_zero(tmp_path, monkeypatch):
    """A model of single pictures makes no impact that could be seen."""
    format = ClipFormat(frames=1)
    clip = types.SimpleNamespace(frames=np.zeros((1, 64, 64, 3)), samples=None, format=format)
    pipeline = types.SimpleNamespace(generate_batch=lambda requests: [clip] * len(requests))
    monkeypatch.setattr(adopt, "load_pipeline", lambda path: pipeline)
    monkeypatch.setattr(adopt, "enable_compile_cache", lambda: None)
    assert adopt.scores(tmp_path, 2) == {"facts": [0.0, 0.0], "sync": [0.0, 0.0]}


def with_noise(path, into):
    """Weights of a model with noise on them, as another file."""
    found = weights.load_weights(path, "st_dit")
    generator = np.random.default_rng(0)
    spoiled = {}
    for name, x in flatten(found.params).items():
        x = np.asarray(x)
        node, *rest = [spoiled, *name.split("/")]
        for key in rest[:-1]:
            node = node.setdefault(key, {})
        node[rest[-1]] = x + 0.3 * x.std() * generator.standard_normal(x.shape).astype(x.dtype)
    options = {"dtype": np.float16}
    weights.save_weights(into, "st_dit", spoiled, found.config, found.metadata, **options)


@pytest.mark.slow
def test_worse_weights_are_refused_and_better_ones_taken(tmp_path, monkeypatch):
    """The shipped weights with noise on them show fewer facts."""
    path, worse = tmp_path / "nano.safetensors", tmp_path / "worse.safetensors"
    shutil.copy(weights.shipped("nano"), path)
    with_noise(path, worse)
    kinds = {kind: weights.shipped(kind) for kind in ("video_tokenizer", "audio_tokenizer")}
    monkeypatch.setattr(weights, "shipped", lambda name: kinds.get(name, path))
    before = path.read_bytes()
    refused = adopt.adopt_weights(worse, 16)
    assert not refused["adopted"] and refused["why"] == "no better than what is shipped"
    assert path.read_bytes() == before

    good = tmp_path / "good.safetensors"
    shutil.copy(path, good)
    shutil.copy(worse, path)
    taken = adopt.adopt_weights(good, 16)
    assert taken["adopted"] and path.read_bytes() == before


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no run of benchmarks\.short_run"):
        adopt.main(str(tmp_path))
    (tmp_path / "measure.json").write_text("{}")
    with pytest.raises(UserError, match="left no rows and no weights"):
        adopt.main(str(tmp_path))
