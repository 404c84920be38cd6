"""Words to ids, and what the encoder may and may not see."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sora_jax.models.text_encoder import TextEncoder, TextTokenizer, fnv1a

WORDS = ("a", "red", "ball", ".", ",", "don't")


def test_hash_is_the_published_one():
    assert [fnv1a(text) for text in ("", "a", "foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]


def test_known_words_case_punctuation_and_padding():
    tokenizer = TextTokenizer(WORDS, buckets=16, length=8)
    tokens, mask = tokenizer(["A RED ball,don't.", ""])
    assert tokens.dtype == np.int32 and mask.dtype == bool
    assert tokens.tolist() == [[1, 2, 3, 5, 6, 4, 0, 0], [0] * 8]
    assert mask.tolist() == [[True] * 6 + [False] * 2, [False] * 8]


def test_unknown_words_hash_into_buckets_and_are_named():
    tokenizer = TextTokenizer(WORDS, buckets=16, length=8)
    tokens, _ = tokenizer(["a mauve ball Äpfel", "mauve"])
    assert tokens[0, 1] == tokens[1, 0] == 1 + len(WORDS) + fnv1a("mauve") % 16
    assert tokens.max() < tokenizer.vocabulary == 1 + len(WORDS) + 16
    assert tokenizer.unknown("a mauve ball, Äpfel, mauve") == ["mauve", "äpfel"]
    assert tokenizer.unknown("A red BALL.") == []


def test_long_prompts_are_cut_and_doubled_words_refused():
    tokens, mask = TextTokenizer(WORDS, length=4)(["a red ball . a red ball ."])
    assert tokens.tolist() == [[1, 2, 3, 4]] and mask.all()
    with pytest.raises(ValueError, match="twice"):
        TextTokenizer(("a", "a"))


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder(32, 16, 2, 2, nnx.Rngs(0))


def test_hidden_words_do_not_count(encoder):
    tokens = jnp.array([[1, 2, 3, 4]])
    mask = jnp.array([[True, True, False, False]])
    features, visible = encoder(tokens, mask)
    assert features.shape == (1, 5, 16) and visible.tolist() == [[True, True, True, False, False]]
    changed, _ = encoder(tokens.at[0, 2:].set(9), mask)
    np.testing.assert_array_equal(features[:, :3], changed[:, :3])
    seen, _ = encoder(tokens.at[0, 1].set(9), mask)
    assert float(jnp.abs(features[:, :2] - seen[:, :2]).max()) > 1e-3


def test_no_words_is_one_prompt_whatever_the_ids(encoder):
    nothing = jnp.zeros((1, 4), bool)
    a, visible = encoder(jnp.array([[1, 2, 3, 4]]), nothing)
    b, _ = encoder(jnp.array([[5, 6, 7, 8]]), nothing)
    assert visible.sum() == 1
    np.testing.assert_array_equal(a[:, 0], b[:, 0])


def test_word_order_matters(encoder):
    mask = jnp.ones((1, 3), bool)
    a, _ = encoder(jnp.array([[1, 2, 3]]), mask)
    b, _ = encoder(jnp.array([[3, 2, 1]]), mask)
    assert float(jnp.abs(a[:, 0] - b[:, 0]).max()) > 1e-3
