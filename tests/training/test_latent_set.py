"""Sets of latents on the device: their content, their order, and how filling ends."""

import time

import jax.numpy as jnp
import numpy as np
import pytest
from toy_resident import COUNT, FORM, TOKENIZE, Audio, Source, Video, latent_set

from sora_jax.data.encode import encoder
from sora_jax.errors import UserError
from sora_jax.training.latent_set import Order, fill


@pytest.fixture(scope="module")
def latents():
    return latent_set()


def test_a_pass_visits_every_clip_once_and_passes_run_into_each_other():
    order = Order(22, 4, seed=1)
    clips, draws = order.indices(0, 33)
    assert clips.shape == draws.shape == (33, 4) and clips.dtype == draws.dtype == np.int32
    passes = clips.reshape(6, 22)
    assert (np.sort(passes) == np.arange(22)).all()
    assert len({tuple(of) for of in passes}) == 6 and tuple(range(22)) not in {
        tuple(of) for of in passes
    }
    assert (draws >= 0).all() and len(np.unique(draws)) == draws.size


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_the_order_is_a_pure_function_of_seed_and_step(batch_size):
    order = Order(22, batch_size, seed=1)
    whole = np.array(order.indices(0, 30))
    for step, steps in [(0, 1), (7, 4), (29, 1), (3, 20)]:
        np.testing.assert_array_equal(
            Order(22, batch_size, seed=1).indices(step, steps), whole[:, step : step + steps]
        )
    other = np.array(Order(22, batch_size, seed=2).indices(0, 30))
    assert (other[0] != whole[0]).any() and (other[1] != whole[1]).any()


def test_the_order_is_the_same_everywhere():
    """Literal numbers: another version of NumPy, or of this code, must not change the batches."""
    clips, draws = Order(5, 3, seed=7).indices(1, 2)
    assert clips.tolist() == [[2, 0, 3], [1, 2, 4]]
    assert draws.tolist() == [
        [30296047, 1689776739, 1540280710],
        [821797089, 1992869984, 1840306115],
    ]


def test_every_caption_is_drawn_alike(latents):
    """Clip 2 has three captions. Of 600 draws each is taken about 200 times."""
    clips, draws = Order(COUNT, 22, seed=0).indices(0, 600)
    taken = draws[clips == 2] % int(latents.captions[2])
    assert len(taken) == 600 and np.bincount(taken).min() > 150


def test_the_set_holds_every_clip_with_its_captions(latents):
    assert len(latents) == COUNT and latents.video.dtype == latents.audio.dtype == jnp.float16
    assert latents.tokens.shape == (COUNT, 3, 8) and latents.captions.tolist() == [
        1 + i % 3 for i in range(COUNT)
    ]
    assert latents.has_audio.tolist() == [i % 3 > 0 for i in range(COUNT)]
    for i in (0, 4, 21):
        texts = [f"clip number {i}", f"number of clip {i}", f"{i}"][: 1 + i % 3]
        tokens, mask = TOKENIZE(texts)
        np.testing.assert_array_equal(latents.tokens[i, : len(texts)], tokens)
        np.testing.assert_array_equal(latents.text_mask[i, : len(texts)], mask)
        assert (
            not latents.tokens[i, len(texts) :].any()
            and not latents.text_mask[i, len(texts) :].any()
        )


def test_filling_ends_with_the_count_or_with_the_time():
    encode, clips = encoder(Video(), Audio(), FORM), Source()

    def filled(count, until=None, source=clips):
        return fill(source(), encode, TOKENIZE, count, until, progress=False)

    assert len(filled(10)) == 10 and len(filled(100)) == COUNT
    assert len(filled(100, until=time.monotonic() - 1)) == 4, "one batch is always made"
    assert len(filled(100, until=time.monotonic() + 100)) == COUNT
    with pytest.raises(UserError, match="the source is empty"):
        filled(10, source=Source(0))
    with pytest.raises(UserError, match="the latents of n/13 hold NaN or infinity"):
        filled(100, source=Source(bad=13))
