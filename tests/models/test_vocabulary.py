"""A vocabulary grows: old rows stay to the bit, and so does what a model makes of any prompt."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sora_jax.models.text_encoder import TextEncoder, TextTokenizer
from sora_jax.models.vocabulary import grown, new_words, with_rows, words_of

KNOWN, ADDED = ("a", "red", "ball"), ("moss", "dusk", ",")


@pytest.fixture(scope="module")
def tokenizers():
    """The tokenizer before and after, both with 7 buckets."""
    return TextTokenizer(KNOWN, 7, 6), TextTokenizer((*KNOWN, *ADDED), 7, 6)


def test_rows_of_old_words_and_buckets_stay(rng):
    table = rng.normal(size=(1 + 3 + 7, 5)).astype(np.float32)
    larger = np.asarray(grown(table, KNOWN, ADDED))
    assert larger.shape == (14, 5)
    np.testing.assert_array_equal(larger[:4], table[:4])
    np.testing.assert_array_equal(larger[7:], table[4:])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_any_prompt_is_encoded_as_before(tokenizers, rng):
    before, after = tokenizers
    table = rng.normal(size=(before.vocabulary, 5)).astype(np.float32)
    larger = np.asarray(grown(table, KNOWN, ADDED))
    texts = ["a red ball", "moss, dusk", "a red moss cloud", ""]
    np.testing.assert_array_equal(table[before(texts)[0]], larger[after(texts)[0]])
    assert after.unknown("moss, dusk") == [] and before.unknown("moss") == ["moss"]


def test_the_encoder_computes_the_same(tokenizers):
    before, after = tokenizers
    one = TextEncoder(before.vocabulary, 8, 1, 1, nnx.Rngs(0))
    other = TextEncoder(after.vocabulary, 8, 1, 1, nnx.Rngs(0))
    params = {"text": {"embedding": {"embedding": one.embedding.embedding[...]}, "norm": 1}}
    table = with_rows(params, KNOWN, ADDED)["text"]["embedding"]["embedding"]
    other.embedding.embedding[...] = table
    other.register[...] = one.register[...]
    nnx.update(other.blocks, nnx.state(one.blocks))
    texts = ["a moss ball", "dusk"]
    both = [(one, before), (other, after)]
    pairs = [encode(*map(jnp.asarray, read(texts)))[0] for encode, read in both]
    np.testing.assert_array_equal(*pairs)


def test_words_of_captions_are_each_new_once():
    found = words_of(["A red ball, green moss.", "green ball"])
    assert found == (",", ".", "a", "ball", "green", "moss", "red")
    assert new_words(KNOWN, ("moss", "red", "moss", "dusk")) == ("moss", "dusk")
    assert with_rows({"text": 0}, KNOWN, ()) == {"text": 0}
