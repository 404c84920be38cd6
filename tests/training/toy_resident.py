"""A small run of the resident trainer.

`python toy_resident.py WEIGHTS` trains until it is killed, and saves after each call.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sora_jax.data.encode import encoder
from sora_jax.modality import ClipFormat
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.training import resident
from sora_jax.training.latent_set import Order, fill
from sora_jax.training.optim import OptimConfig, averaged_params, make_optimizer
from sora_jax.training.state import new_state, split_module
from sora_jax.training.step import make_step
from sora_jax.weights import save_weights

FORM = ClipFormat(frames=5, fps=8, height=16, width=16)
TOKENIZE = TextTokenizer(("clip", "number", "of"), buckets=64, length=8)
COUNT, BATCH = 22, 4


class Video(nnx.Module):
    """Every eighth pixel of every fourth frame, in place of an encoder."""

    def encode(self, frames, shots):
        return jnp.tile(frames[:, ::4, ::8, ::8, :1], (1, 1, 1, 1, 16))


class Audio(nnx.Module):
    def encode(self, samples):
        padded = jnp.pad(samples, ((0, 0), (0, -samples.shape[1] % 640)))
        return padded.reshape(len(samples), -1, 640)[..., :64]


class Source:
    """Clips of random pixels, with one to three captions; that of number `bad` holds NaN."""

    def __init__(self, count=COUNT, batch_size=4, bad=None):
        self.count, self.batch_size, self.bad = count, batch_size, bad
        self.format, self.identity = FORM, {"source": "numbers", "split": "train"}

    def __len__(self):
        return self.count

    def __call__(self, start=0):
        for first in range(start, self.count, self.batch_size):
            numbers = range(first, min(first + self.batch_size, self.count))
            rngs = [np.random.default_rng(i) for i in numbers]
            frames = np.stack([rng.random((5, 16, 16, 3), np.float32) for rng in rngs])
            frames[[i == self.bad for i in numbers]] = np.nan
            captions = ["clip number {}", "number of clip {}", "{}"]
            yield {
                "frames": frames,
                "samples": np.stack(
                    [rng.normal(size=FORM.samples).astype(np.float32) for rng in rngs]
                ),
                "has_audio": np.array([i % 3 > 0 for i in numbers]),
                "captions": [tuple(c.format(i) for c in captions[: 1 + i % 3]) for i in numbers],
                "keys": [f"n/{i}" for i in numbers],
            }


def latent_set(count=COUNT, **options):
    source = Source(count, **options)
    return fill(source(), encoder(Video(), Audio(), FORM), TOKENIZE, count, progress=False)


class Net(nnx.Module):
    """Says what a clip sounds like from its picture and its caption."""

    def __init__(self, width, rngs):
        self.words = nnx.Embed(TOKENIZE.vocabulary, width, rngs=rngs)
        self.video = nnx.Linear(16, width, rngs=rngs)
        self.outer = nnx.Linear(width, 64, rngs=rngs)

    def __call__(self, batch):
        mask = batch["text_mask"][..., None]
        words = (self.words(batch["tokens"]) * mask).sum(1) / mask.sum(1)
        return self.outer(nnx.gelu(words + self.video(batch["video"].mean((1, 2, 3)))))


def parts(width=16, muon=False):
    """(the first state as a function, step_of)."""
    params, merge = split_module(Net(width, nnx.Rngs(0)))
    config = OptimConfig(lr=1e-2, ema=0.9, warmup=2, muon=muon)

    def loss_fn(params, batch, key):
        target = batch["audio"].mean(1) + 0.1 * jax.random.normal(key, (len(batch["audio"]), 64))
        error = jnp.square(merge(params)(batch) - target).mean(1)
        loss = jnp.where(batch["has_audio"], error, 0.1 * error).mean()
        return loss, {"target": target.mean()}

    def begin():
        return new_state(params, make_optimizer(config, 1), seed=3)

    def step_of(total):
        return make_step(loss_fn, make_optimizer(config, total))

    return begin, step_of


if __name__ == "__main__":
    begin, step_of = parts(width=2048)  # 0.8 MB of weights: writing them takes a while

    def save(state, step):
        averaged = averaged_params(state.opt_state, state.params)
        save_weights(sys.argv[1], "st_dit", averaged, {}, {"steps": step})

    latents = latent_set()
    order = Order(COUNT, BATCH, seed=0)
    run = (begin(), resident.make_steps(step_of), latents, order, 10**6)
    resident.train(*run, chunk=5, save=save, save_every_seconds=0)
