"""T5 from a folder: its features, its places in a text, and what is refused."""

import json

import numpy as np
import pytest
import tiny_t5
from safetensors.numpy import load_file, save_file

from sora_jax.errors import UserError
from sora_jax.models.t5 import T5, bucket_of

pytest.importorskip("tokenizers.models", reason="the extra `t5` is not installed")

TEXT = "a red ball is dropped and bounces twice"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_t5.write(tmp_path_factory.mktemp("t5") / "tiny")


def test_pieces_have_their_places_and_end_with_the_mark(folder):
    pieces = T5(folder).pieces
    ids, places = pieces("a red  ball")
    assert ids[:2] == [3, 4] and ids[-1] == 1 and 2 not in ids
    assert places[:2] == [0, 2] and places[-1] == len("a red  ball")
    assert all("a red  ball"[at : at + 1] != " " for at in places)


def test_padding_and_company_change_nothing(folder):
    t5 = T5(folder)
    rows = [t5.pieces(text)[0] for text in (TEXT, "a blue ball", "red")]
    alone, together = t5(rows[1:2], 12)[0], t5(rows, 20)[1]
    assert alone.shape == (4, 8) and alone.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)
    other = t5([[*rows[1][:-1], 2]], 12)[0]
    assert np.abs(other[0] - alone[0]).max() > 1e-4, "a token does not see those after it"


def test_buckets_are_those_of_the_paper():
    """Exact up to a quarter of the buckets, then logarithmic; another half for keys after it."""
    distance = np.array([0, -1, -7, -8, -15, -16, -127, -500, 1, 7, 8, 500])
    found = bucket_of(distance, 32, 128)
    assert found.tolist() == [0, 1, 7, 8, 9, 10, 15, 15, 17, 23, 24, 31]


# of transformers 5.24 and torch 2.13: features . (1 .. 8) at every sixth of 25 tokens
PUBLISHED = {
    "gated": [0.702764, -3.006823, 3.977278, 1.366408, -6.58024],
    "relu": [-4.296883, -2.028126, -5.666012, -4.46897, -0.442834],
    "umt5": [0.78597, -2.970518, 3.910315, 2.438006, -6.980919],
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_features_are_the_published_numbers(kind, tmp_path):
    folder = tiny_t5.write(tmp_path / kind, kind != "relu", kind == "umt5")
    (found,) = T5(folder)([[3 + i % 9 for i in range(24)] + [1]], 25)
    np.testing.assert_allclose((found @ np.arange(1, 9))[::6], PUBLISHED[kind], atol=3e-5)


def test_a_fingerprint_covers_every_file(folder, tmp_path):
    found = {T5(folder).fingerprint, T5(tiny_t5.write(tmp_path / "a", seed=1)).fingerprint}
    same = tiny_t5.write(tmp_path / "same")
    assert len(found) == 2 and T5(same).fingerprint in found
    words = json.loads((same / "tokenizer.json").read_text())
    words["model"]["vocab"][5][1] = -99.0
    (same / "tokenizer.json").write_text(json.dumps(words))
    assert T5(same).fingerprint not in found


def test_weights_in_several_files(folder, tmp_path):
    parts = tiny_t5.write(tmp_path / "parts")
    arrays = load_file(parts / "model.safetensors")
    (parts / "model.safetensors").unlink()
    names = sorted(arrays)
    where = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(where.values()):
        save_file({n: arrays[n] for n in names if where[n] == file}, parts / file)
    (parts / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    ids = [[3, 4, 6, 1]]
    np.testing.assert_array_equal(T5(parts)(ids, 4)[0], T5(folder)(ids, 4)[0])
    (parts / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks model-00002-of-00002.safetensors, which its index"):
        T5(parts)


def change(folder, name, edit):
    content = json.loads((folder / name).read_text())
    edit(content)
    (folder / name).write_text(json.dumps(content))


def without(folder, name):
    arrays = load_file(folder / "model.safetensors")
    del arrays[name]
    save_file(arrays, folder / "model.safetensors")


BROKEN = {
    "has no config.json; give a folder with": lambda f: (f / "config.json").unlink(),
    "has no model.safetensors; give": lambda f: (f / "model.safetensors").unlink(),
    "has no tokenizer.json and no spiece": lambda f: (f / "tokenizer.json").unlink(),
    "config.json is not JSON": lambda f: (f / "config.json").write_text("{"),
    "model.safetensors cannot be read": lambda f: (f / "model.safetensors").write_bytes(b"x" * 99),
    "has no d_kv, so it is no T5": lambda f: change(f, "config.json", lambda c: c.pop("d_kv")),
    "feed_forward_proj='gated-silu' is not supported; there are relu, gated-gelu": lambda f: change(
        f, "config.json", lambda c: c.update(feed_forward_proj="gated-silu")
    ),
    r"q is \(8, 8\), and config.json says \(16, 8\)": lambda f: change(
        f, "config.json", lambda c: c.update(d_kv=8)
    ),
    "lack encoder.block.1.layer.0.SelfAttention.k.weight": lambda f: without(
        f, "encoder.block.1.layer.0.SelfAttention.k.weight"
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_folder_that_lacks_something_is_named(message, tmp_path):
    folder = tiny_t5.write(tmp_path / "t5")
    BROKEN[message](folder)
    with pytest.raises(UserError, match=message):
        T5(folder)


def test_no_folder():
    with pytest.raises(UserError, match=r"no folder nowhere/t5; give a folder with config.json"):
        T5("nowhere/t5")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gated", "relu", "umt5"])
def test_features_are_those_of_transformers(kind, tmp_path):
    transformers = pytest.importorskip("transformers", reason="the extra `parity` is not installed")
    torch = pytest.importorskip("torch")
    folder = tiny_t5.write(tmp_path / kind, kind != "relu", kind == "umt5")
    t5 = T5(folder)
    rows = [t5.pieces(text)[0] for text in (f"{TEXT} {TEXT} {TEXT}", "a blue ball")]
    found = t5(rows, 40)
    make = transformers.UMT5EncoderModel if kind == "umt5" else transformers.T5EncoderModel
    model = make.from_pretrained(folder).eval()
    for row, x in zip(rows, found, strict=True):
        with torch.inference_mode():
            expected = model(input_ids=torch.tensor([row])).last_hidden_state[0].numpy()
        assert np.abs(x - expected).max() <= 1e-5 * np.abs(expected).max()
    assert len(rows[0]) > 16, "beyond the furthest distance"


def test_a_sentencepiece_model_has_places_and_the_end_mark_too(folder, tmp_path):
    package = pytest.importorskip("sentencepiece")
    copy = tiny_t5.write(tmp_path / "t5")
    (copy / "tokenizer.json").unlink()
    (tmp_path / "text").write_text(f"{TEXT}\na blue ball\nüber the red ball\n" * 20)
    package.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(copy / "spiece"),
        vocab_size=26,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    text = "über the red ball"
    ids, places = T5(copy).pieces(text)
    assert ids[-1] == 1 and len(ids) == len(places) and places[-1] == len(text)
    assert places == sorted(places) and places[0] == 0 and not {4, 8, 12} & set(places)
