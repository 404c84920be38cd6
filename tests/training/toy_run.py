"""A small run through the real loop: `python toy_run.py WORKDIR STEPS [WIDTH]` trains with one log
row per step.
"""

import sys

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sora_jax.training.loop import TrainConfig, fit
from sora_jax.training.optim import OptimConfig, make_optimizer
from sora_jax.training.state import new_state, split_module
from sora_jax.training.step import make_step
from sora_jax.training.workdir import Workdir

SAVE_EVERY = 10


class Net(nnx.Module):
    def __init__(self, width, rngs):
        self.inner = nnx.Linear(4, width, rngs=rngs)
        self.middle = nnx.Linear(width, width, rngs=rngs)
        self.outer = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, x):
        return self.outer(nnx.gelu(self.middle(nnx.gelu(self.inner(x)))))


class Rows:
    """Row i is a function of i alone; `bad` is a row that holds nan."""

    def __init__(self, bad=None):
        self.bad = bad

    def __len__(self):
        return 200

    def __getitem__(self, i):
        row = np.random.default_rng(i).normal(size=4).astype(np.float32)
        return np.full_like(row, np.nan) if i == self.bad else row


def batches(bad=None, shuffle=True, share=range(8)):
    """Batches of eight rows, or the `share` of each that a process reads."""
    rows = grain.MapDataset.source(Rows(bad))
    rows = (rows.shuffle(seed=1) if shuffle else rows).repeat()
    size = len(share)
    if size < 8:
        rows = grain.MapDataset.range(len(rows) // 8 * size).map(
            lambda i, rows=rows: rows[int(i) // size * 8 + share[int(i) % size]]
        )
    return iter(rows.batch(size).to_iter_dataset())


def parts(steps, width=16, accumulate=1):
    """(the first state as a function, loss, optimizer) of a noisy regression, so that the random
    key matters.
    """
    params, merge = split_module(Net(width, nnx.Rngs(0)))

    def loss_fn(params, batch, key):
        target = batch.sum(-1, keepdims=True) + 0.1 * jax.random.normal(key, (batch.shape[0], 1))
        return jnp.square(merge(params)(batch) - target).mean(), {"target": target.mean()}

    optimizer = make_optimizer(OptimConfig(lr=1e-2, ema=0.9, accumulate=accumulate), steps)
    return lambda: new_state(params, optimizer, seed=3), loss_fn, optimizer


def setup(*arguments, **options):
    """(state, step_fn) of the same on one device."""
    begin, loss_fn, optimizer = parts(*arguments, **options)
    return begin(), make_step(loss_fn, optimizer)


def run(workdir, steps, width=16, iterator=None, accumulate=1, watch=None, **options):
    """Train in `workdir`; (state, iterator). watch: further arguments of `fit`."""
    state, step_fn = setup(steps, width, accumulate)
    iterator = batches() if iterator is None else iterator
    config = TrainConfig(steps=steps, log_every=1, checkpoint_every=SAVE_EVERY, **options)
    with Workdir(workdir, {"width": width, "steps": steps}) as opened:
        return fit(state, step_fn, iterator, config, opened, **(watch or {})), iterator


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 16)
