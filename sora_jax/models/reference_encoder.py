"""Reference encoder: latents of a character's stills and voice become tokens beside the words.

    t_still = W_v patch(z_still) + W_p place + e_view + e_slot                                   (1)
    t_voice = W_a z_voice + W_t time + e_slot                                                    (2)
    word <- word + e_slot                           where the word is the name of the character  (3)

z are latents of the tokenizers, `place` and `time` Fourier features of a token's place in the still
and of its time in the voice sample, W learned matrices and e learned embeddings: e_view of the
still's index, e_slot of the character's slot. A slot is the index of a character in the cast of a
clip. So a name in the prompt is bound to its references by e_slot alone, and not by its letters.
Every latent of a clip attends to the tokens of all characters, as to words of all shots.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from sora_jax.modality import AUDIO_LATENT_RATE
from sora_jax.models.tokens import PLACE_FEATURES, patches, place_features, time_features
from sora_jax.nn.mlp import linear

VIEWS = 4  # stills of a character


class ReferenceEncoder(nnx.Module):
    """The network of references: latents [B, R, ...] of R characters to tokens [B, R M, Dt].

    M is the number of tokens of a character: those of VIEWS stills and of a voice sample.

    Args:
        slots: the largest number of characters of a clip, R.
        width: width of a token, Dt, equal to that of the text encoder.
        channels: channels of the latents by modality, {"video": C, "audio": Ca}.
        patch: side of a token of a still in sites of the latent.
        rngs: random keys of the initial values.
        dtype: dtype of the tokens. Default float32.
    """

    def __init__(
        self,
        slots: int,
        width: int,
        channels: Mapping[str, int],
        patch: int,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.patch = patch
        self.still = linear(patch**2 * channels["video"], width, rngs, bias=True, dtype=dtype)
        self.place = linear(3 * PLACE_FEATURES, width, rngs, dtype=dtype)
        self.voice = linear(channels["audio"], width, rngs, bias=True, dtype=dtype)
        self.time = linear(PLACE_FEATURES, width, rngs, dtype=dtype)
        normal = nnx.initializers.normal(width**-0.5)
        self.view = nnx.Param(normal(rngs.params(), (VIEWS, width)))
        self.slot = nnx.Param(normal(rngs.params(), (slots, width)))

    def beside(
        self,
        words: Float[Array, "B words Dt"],
        mask: Bool[Array, "B words"],
        text: Mapping[str, Any],
    ) -> tuple[Float[Array, "B tokens Dt"], Bool[Array, "B tokens"]]:
        """Marks the names among the words, and appends the tokens of references.

        Args:
            words: features of the pooled prompt, which is first, and of L words, [B, L + 1, Dt].
            mask: bool [B, L + 1], False for padding.
            text: a dict with "slots", int8 [B, L], the slot from 1 of the character that each word
                names, 0 for a word that is no name; and "references", the argument of `__call__`.
                Without the first no name is marked, without the second no token is appended.

        Returns:
            Tokens [B, L + 1 + K, Dt] and their mask, bool; K is the number of tokens of references.
        """
        if "slots" in text:
            words = self.named(words, text["slots"])
        if not text.get("references"):
            return words, mask
        tokens, there = self(text["references"])
        tokens = tokens.astype(words.dtype)
        return jnp.concatenate([words, tokens], 1), jnp.concatenate([mask, there], 1)

    def named(self, words: Float[Array, "B words Dt"], slots: Any) -> Float[Array, "B words Dt"]:
        """Returns words with e_slot added to the names of characters, equation (3).

        Args:
            words: features of the pooled prompt, which is first, and of L words, [B, L + 1, Dt].
            slots: the slot from 1 of the character that each word names, 0 for a word that is no
                name, int [B, L].
        """
        slots = jnp.pad(jnp.asarray(slots), [(0, 0), (1, 0)])
        table = jnp.pad(self.slot[...], [(1, 0), (0, 0)]).astype(words.dtype)
        return words + table[slots]

    def __call__(
        self, references: Mapping[str, Array]
    ) -> tuple[Float[Array, "B tokens Dt"], Bool[Array, "B tokens"]]:
        """Returns the tokens of all characters of a clip, [B, R M, Dt], equations (1) and (2), and
        their mask, bool [B, R M].

        Args:
            references: {"stills": latents [B, R, VIEWS, H, W, C], "voices": latents [B, R, n, Ca],
                "present": bool [B, R], True if the slot holds a character, "heard": bool [B, R],
                True if it has a voice sample}. The mask hides the tokens of all others.
        """
        stills, voices = jnp.asarray(references["stills"]), jnp.asarray(references["voices"])
        B, R, views, H, W, C = stills.shape
        dtype = self.still.dtype or stills.dtype
        slot = self.slot[...][:R, None].astype(dtype)
        p = self.patch
        places = place_features(jnp.zeros(1), (H / p, W / p))[0]
        seen = self.still(patches(stills.reshape(B * R, views, H, W, C), p).astype(dtype))
        seen = seen + self.place(places).astype(dtype) + self.view[...][:, None].astype(dtype)
        seen = seen.reshape(B, R, -1, seen.shape[-1]) + slot
        times = (jnp.arange(voices.shape[2]) + 0.5) / AUDIO_LATENT_RATE
        heard = self.voice(voices.astype(dtype)) + self.time(time_features(times)).astype(dtype)
        heard = heard + slot
        visible = [
            jnp.repeat(jnp.asarray(mask)[..., None], count, axis=-1)
            for mask, count in (
                (references["present"], seen.shape[2]),
                (references["present"] & references["heard"], heard.shape[2]),
            )
        ]
        tokens = jnp.concatenate([seen, heard], axis=2)
        return tokens.reshape(B, -1, tokens.shape[-1]), jnp.concatenate(visible, 2).reshape(B, -1)
