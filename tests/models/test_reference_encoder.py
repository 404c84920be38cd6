"""References of characters: tokens beside the words, bound to names by their slot alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from test_st_dit import TINY, B, bound, inputs

from sora_jax.models.reference_encoder import VIEWS, ReferenceEncoder
from sora_jax.models.st_dit import STDiT
from sora_jax.tree import flatten

R, SIDE, VOICE = 2, 4, 3
CAST = dataclasses.replace(TINY, references=R)
TOKENS = VIEWS * (SIDE // 2) ** 2 + VOICE  # of a character


def references(seed=0, present=((1, 1), (1, 0)), heard=((1, 0), (1, 1))):
    keys = jax.random.split(jax.random.key(seed))
    return {
        "stills": jax.random.normal(keys[0], (B, R, VIEWS, SIDE, SIDE, 3)),
        "voices": jax.random.normal(keys[1], (B, R, VOICE, 5)),
        "present": jnp.array(present, bool),
        "heard": jnp.array(heard, bool),
    }


def told(text, cast, slots=((0, 1, 2, 0), (1, 0, 0, 0))):
    return {**text, "slots": jnp.array(slots, jnp.int8), "references": cast}


def test_tokens_of_a_character_and_their_mask():
    encoder = ReferenceEncoder(R, 16, {"video": 3, "audio": 5}, 2, nnx.Rngs(0))
    tokens, mask = encoder(references())
    assert tokens.shape == (B, R * TOKENS, 16) and mask.shape == (B, R * TOKENS)
    by_slot = mask.reshape(B, R, TOKENS).sum(-1)
    silent = TOKENS - VOICE
    np.testing.assert_array_equal(by_slot, [[TOKENS, silent], [TOKENS, 0]])
    # the same pictures and voice in both slots differ by the embedding of the slot
    cast = references()
    cast = {k: jnp.stack([x[:, 0], x[:, 0]], 1) for k, x in cast.items()}
    first, second = jnp.split(encoder(cast)[0], R, axis=1)
    np.testing.assert_allclose(
        second - first, jnp.broadcast_to(encoder.slot[1] - encoder.slot[0], first.shape), atol=1e-5
    )


def test_a_name_is_its_slot():
    encoder = ReferenceEncoder(R, 16, {"video": 3, "audio": 5}, 2, nnx.Rngs(0))
    words = jax.random.normal(jax.random.key(1), (1, 4, 16))
    moved = encoder.named(words, jnp.array([[0, 2, 1]], jnp.int8)) - words
    wanted = jnp.stack([jnp.zeros(16), jnp.zeros(16), encoder.slot[1], encoder.slot[0]])
    np.testing.assert_allclose(moved[0], wanted, atol=1e-5)


def test_what_a_model_reads_of_references():
    model = bound(CAST)
    latents, levels, text, times = inputs()
    run = lambda cast: model(latents, levels, told(text, cast), times)
    base = run(references())
    for m, x in base.items():
        # clip 0 shows both characters, clip 1 the first alone; the second of clip 0 is not heard
        for name, slot, seen in (
            ("stills", 1, (1, 0)),
            ("voices", 1, (0, 0)),
            ("voices", 0, (1, 1)),
        ):
            cast = references()
            cast[name] = cast[name].at[:, slot].add(1.0)
            moved = np.abs(run(cast)[m] - x).max(axis=tuple(range(1, x.ndim)))
            np.testing.assert_array_equal(moved > 1e-6, np.array(seen, bool), f"{m} {name} {slot}")
        hidden = run(references(present=((0, 0), (0, 0))))[m]
        nothing = model(latents, levels, told(text, {}), times)[m]
        np.testing.assert_allclose(hidden, nothing, atol=1e-5)


def test_without_references_a_model_is_what_it_was():
    plain, cast = (flatten(nnx.state(STDiT(c, nnx.Rngs(0)))) for c in (TINY, CAST))
    for name, x in plain.items():
        np.testing.assert_array_equal(cast.pop(name), x)
    assert cast and all(name.startswith("references/") for name in cast)
    latents, levels, text, times = inputs()
    model = bound(TINY)
    for m, x in model(latents, levels, text, times).items():
        other = model(latents, levels, told(text, references()), times)[m]
        np.testing.assert_array_equal(other, x)
