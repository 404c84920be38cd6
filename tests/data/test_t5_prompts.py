"""Prompts as features of T5: kept on disk once, the same from there, with shots and names."""

import json

import numpy as np
import pytest
import tiny_t5

from sora_jax.data.prompts import encode_prompts
from sora_jax.data.t5_prompts import FeatureStore, T5Prompts
from sora_jax.errors import UserError
from sora_jax.models.t5 import T5

pytest.importorskip("tokenizers.models", reason="the extra `t5` is not installed")

TEXTS = ["a red ball is dropped", "a blue ball", "", "a red ball is dropped"]


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return T5(tiny_t5.write(tmp_path_factory.mktemp("t5") / "tiny"))


def test_prompts_are_padded_features_and_an_empty_one_is_unconditional(t5):
    prompts = T5Prompts(t5, 8)
    x, mask = prompts(TEXTS)
    assert x.shape == (4, 8, 8) and x.dtype == np.float32 and mask.dtype == bool
    assert mask.sum(1).tolist() == [6, 4, 0, 6], "five words and the end mark"
    assert not x[~mask].any() and np.abs(x[mask]).min(-1).all()
    np.testing.assert_array_equal(x[0], x[3])
    np.testing.assert_allclose(x[1, :4], t5([t5.pieces(TEXTS[1])[0]], 8)[0], rtol=1e-3, atol=1e-4)
    assert prompts.split(TEXTS[1]) == ["a ", "blue ", "ball"] and prompts.unknown("zebra") == []


def test_a_long_prompt_is_cut_and_keeps_the_end_mark(t5):
    x, mask = T5Prompts(t5, 4)([TEXTS[0]])
    ids = t5.pieces(TEXTS[0])[0]
    assert mask.all()
    np.testing.assert_allclose(x[0], t5([[*ids[:3], 1]], 4)[0], rtol=1e-3, atol=1e-4)


def test_kept_features_are_the_same_and_computed_once(t5, tmp_path, monkeypatch):
    fresh = T5Prompts(t5, 8)(TEXTS)
    kept = T5Prompts(t5, 8, tmp_path)
    kept.keep(TEXTS)
    assert len(json.loads((tmp_path / "index.json").read_text())["texts"]) == 3
    again = T5Prompts(t5, 8, tmp_path)

    def refuse(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(T5, "__call__", refuse)
    again.keep(TEXTS)
    for prompts in (kept, again):
        for found, expected in zip(prompts(TEXTS), fresh, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_an_interrupted_store_goes_on(tmp_path):
    def encode(texts):
        return [np.full((len(text), 2), len(text), np.float16) for text in texts]

    FeatureStore(tmp_path, "one", 2).add(["a", "bcd"], encode)
    with (tmp_path / "features.f16").open("ab") as file:
        file.write(b"half of a row")  # killed before the index was written
    store = FeatureStore(tmp_path, "one", 2)
    store.add(["ef", "a"], encode)
    for text in ("a", "bcd", "ef"):
        np.testing.assert_array_equal(store.read(text), encode([text])[0])
    assert "a" not in FeatureStore(tmp_path, "another", 2)
    (tmp_path / "features.f16").write_bytes(b"")
    with pytest.raises(UserError, match="is cut short; delete its folder"):
        store.read("bcd")


def test_shots_and_names_follow_the_pieces(t5, monkeypatch):
    monkeypatch.setattr("sora_jax.data.prompts.shot_starts", lambda text: (6, 17))
    words = encode_prompts(T5Prompts(t5, 12), ["a red ball is @mika dropped"], [("mika",)])
    places = T5Prompts(t5, 12).offsets("a red ball is @mika dropped")
    shots = [sum(start <= place for start in (6, 17)) for place in places]
    assert words["shots"][0, : len(places)].tolist() == shots
    assert not words["shots"][0, len(places) :].any(), "the end mark is of all shots"
    assert words["slots"][0].nonzero()[0].tolist() == [places.index(15)]
