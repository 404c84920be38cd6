"""Text encoder: reads the tokens of a prompt with a small bidirectional transformer.

Tokens [B, L] and mask [B, L] give features [B, L + 1, Dt] and a mask [B, L + 1]. Feature 0 is that
of a learned token, which is always visible. If all words are masked, it is the only visible token
and encodes the unconditional prompt. Otherwise it pools the whole prompt for the modulation by
noise level and text (`sora_jax.nn.modulation`, equation 1).

A `PromptEncoder` converts texts to tokens. `TextTokenizer` gives ids of words, whose embedding is
trained with the model. A published encoder (`sora_jax.data.t5_prompts`) gives features [B, L, Df],
which a linear layer projects in place of the embedding.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Shaped

from sora_jax.errors import UserError
from sora_jax.nn.attention import SelfAttention, among
from sora_jax.nn.layout import NO_SHARDING, Layout
from sora_jax.nn.mlp import MLP, linear
from sora_jax.nn.norm import RMSNorm, rms_norm
from sora_jax.nn.rope import TOKENS, angles
from sora_jax.nn.stack import init_stack, scan_stack
from sora_jax.typing import AnyArray

_WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")


def fnv1a(text: str) -> int:
    """Returns the 32-bit FNV-1a hash of the text's UTF-8 bytes.

    It is the same on every machine and in every process, unlike Python's `hash`.
    """
    # offset basis and prime of 32-bit FNV
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def word_offsets(text: str) -> list[int]:
    """Returns the place of each word of a text, in characters from the start of the text."""
    return [match.start() for match in _WORD.finditer(text)]


class PromptEncoder(Protocol):
    """The interface of encoders: texts to the tokens that a model reads.

    The model's `text_features` must be that of the encoder (`STDiTConfig`).

    Attributes:
        length: tokens of a padded prompt, L.
        words: the known words; () for an encoder that knows every word.
    """

    length: int
    words: tuple[str, ...]

    def __call__(self, texts: Sequence[str]) -> tuple[Any, Any]:
        """Converts B texts to tokens, ids [B, L] or features [B, L, Df], and a mask bool [B, L],
        False for padding. An empty text has an all-False mask.
        """
        ...

    def split(self, text: str) -> list[str]:
        """Returns the pieces of a text that become tokens, in order."""
        ...

    def offsets(self, text: str) -> list[int]:
        """Returns the place of each token of a text, in characters from the start."""
        ...

    def unknown(self, text: str) -> list[str]:
        """Returns the words of a text that are not known, each once."""
        ...


class TextTokenizer:
    """A word tokenizer: text to ids.

    Id 0 is padding, ids 1 .. len(words) are the known words, and any other word hashes into one of
    `buckets` further ids. Text is lower-cased, and punctuation marks are separate words.

    Args:
        words: the known words.
        buckets: number of ids for all other words. Default 256.
        length: words of a padded prompt; longer prompts are cut. Default 64.

    Raises:
        ValueError: a word is named twice.
    """

    def __init__(self, words: Sequence[str], buckets: int = 256, length: int = 64):
        self.words = tuple(words)
        self.buckets = buckets
        self.length = length
        self.ids = {word: i for i, word in enumerate(self.words, start=1)}
        if len(self.ids) != len(self.words):
            raise ValueError("the vocabulary names a word twice")

    @classmethod
    def of_vocabulary(cls, words: Sequence[str], vocabulary: int, length: int) -> "TextTokenizer":
        """Returns a tokenizer with `vocabulary` ids.

        Args:
            words: the known words.
            vocabulary: number of ids: one for padding, one for each word, and the rest for buckets.
            length: words of a padded prompt.

        Raises:
            UserError: no id is left for a bucket.
        """
        buckets = vocabulary - 1 - len(words)
        if buckets < 1:
            raise UserError(
                f"a vocabulary of {vocabulary} has no room for {len(words)} words; give "
                f"config.model.vocabulary at least {len(words) + 2}, and train anew"
            )
        return cls(words, buckets, length)

    def of_length(self, length: int) -> "TextTokenizer":
        """Returns a tokenizer of the same words that pads prompts to another number of words."""
        return TextTokenizer(self.words, self.buckets, length)

    @property
    def vocabulary(self) -> int:
        """The number of ids: padding, known words and buckets."""
        return 1 + len(self.words) + self.buckets

    def split(self, text: str) -> list[str]:
        """Returns the lower-case words and the punctuation marks of a text, in order."""
        return _WORD.findall(text.lower())

    def offsets(self, text: str) -> list[int]:
        """Returns the place of each word of a text, in characters from the start of the text."""
        return word_offsets(text)

    def unknown(self, text: str) -> list[str]:
        """Returns the words of a text that are not among the known words, each once, in order."""
        return list(dict.fromkeys(word for word in self.split(text) if word not in self.ids))

    def __call__(
        self, texts: Sequence[str]
    ) -> tuple[Int[np.ndarray, "B L"], Bool[np.ndarray, "B L"]]:
        """Converts B texts to ids int32 [B, L] and a mask bool [B, L], True at words; L is
        `length`.

        An empty text has an all-False mask and is unconditional.
        """
        tokens = np.zeros((len(texts), self.length), np.int32)
        for row, text in zip(tokens, texts, strict=True):
            for i, word in enumerate(self.split(text)[: self.length]):
                row[i] = self.ids.get(word) or 1 + len(self.words) + fnv1a(word) % self.buckets
        return tokens, tokens > 0


class TextBlock(nnx.Module):
    """A pre-norm transformer block over a masked sequence, [B, L, D] -> same: self-attention, then
    MLP.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.attention = SelfAttention(width, heads, rngs, dtype)
        self.mlp = MLP(width, mlp_ratio, rngs, dtype)

    def __call__(
        self, x: Float[Array, "B L D"], visible: Bool[Array, "B L"], phi: Float[Array, "L planes"]
    ) -> Float[Array, "B L D"]:
        """Applies the block.

        Args:
            x: [B, L, D].
            visible: bool [B, L], True for the positions that are attended to.
            phi: rotation angles [L, d/2] of the positions.

        Returns:
            [B, L, D].
        """
        x = x + self.attention(rms_norm(x), phi, among(visible))
        return x + self.mlp(rms_norm(x))


class TextEncoder(nnx.Module):
    """The text encoder: a bidirectional transformer over the words of a prompt.

    Tokens and mask bool [B, L] -> features [B, L + 1, width] and mask bool [B, L + 1]. Feature 0
    pools the prompt and is always visible.

    Args:
        vocabulary: number of token ids, where tokens are ids int32 [B, L].
        width: width of the encoder and of its features, Dt.
        heads: attention heads.
        layers: number of blocks.
        rngs: random keys of the initial values.
        mlp_ratio: hidden width of an MLP over `width`. Default 2.
        dtype: dtype of the computation. Default float32.
        features: if not 0, tokens are features [B, L, features] of another encoder. Default 0: ids.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        heads: int,
        layers: int,
        rngs: nnx.Rngs,
        mlp_ratio: float = 2.0,
        dtype: DTypeLike = jnp.float32,
        features: int = 0,
    ):
        self.heads = heads
        self.embedding = (
            linear(features, width, rngs, bias=True, dtype=dtype)
            if features
            else nnx.Embed(
                vocabulary,
                width,
                embedding_init=nnx.initializers.normal(1.0),
                dtype=dtype,
                rngs=rngs,
            )
        )
        self.register = nnx.Param(jax.random.normal(rngs.params(), (width,)))
        block = functools.partial(TextBlock, width, heads, mlp_ratio, dtype=dtype)
        self.blocks = init_stack(block, layers, rngs)
        self.norm = RMSNorm(width)

    def __call__(
        self,
        tokens: Int[AnyArray, "B L"] | Float[AnyArray, "B L features"],
        mask: Shaped[AnyArray, "B L"],
        layout: Layout = NO_SHARDING,
    ) -> tuple[Float[Array, "B L+1 D"], Bool[Array, "B L+1"]]:
        """Encodes tokens [B, L], or [B, L, features], with their mask [B, L], False for padding.

        `layout` has the sharding hooks (`sora_jax.nn.layout`). Default: identities.

        Returns:
            Features [B, L + 1, width], and their mask bool [B, L + 1]. Feature 0 pools the prompt
            and is always visible.
        """
        words = self.embedding(jnp.asarray(tokens))
        register = jnp.broadcast_to(
            self.register[...].astype(words.dtype), (len(tokens), 1, words.shape[-1])
        )
        x = jnp.concatenate([register, words], axis=1)
        visible = jnp.concatenate([jnp.ones((len(tokens), 1), bool), mask.astype(bool)], axis=1)
        phi = angles(jnp.arange(x.shape[1]), x.shape[-1] // self.heads // 2, TOKENS)
        x = scan_stack(
            self.blocks,
            lambda block, x, _: block(x, visible, phi),
            x,
            weights=layout.weights_of("text/blocks"),
        )
        return self.norm(x), visible
