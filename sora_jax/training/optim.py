r"""The optimizer: optax transforms for clipping, AdamW or Muon, a schedule and weight averaging.

    g <- g min(1, c / |g|)                                    clipping by the global norm        (1)
    u  = -lr_t (m^ / (sqrt(n^) + eps) + w p)                  AdamW (Loshchilov, Hutter, 2019)   (2)
    u  = -lr_t (.2 sqrt(max(a, b)) orth(m~) + w p)            Muon, for a x b matrices alone    (2')
    lr_t: 0 -> lr over `warmup` steps, then a cosine down to lr * `final`                        (3)
    e <- d_t e + (1 - d_t) (p + u),   d_t = min(d, (1 + t) / (10 + t))                           (4)

g is the gradient, p the parameters, m^ and n^ the bias-corrected moments, w the weight decay
and e the exponential moving average of p.

(2') replaces (2) for kernels when `muon` is set (Jordan, 2024). orth(m~) is the orthogonal
matrix nearest to the momentum, by five Newton-Schulz iterations. The factor .2 sqrt(max(a, b))
gives Muon's updates the RMS of AdamW's, so that lr keeps its meaning (Liu et al., 2025,
arXiv:2502.16982). A convolution's kernel counts as a matrix (height width inputs) x outputs. A
stack of blocks counts as one matrix for each block. `muon_stacked` computes the same updates
with one Newton-Schulz iteration for each shape of matrix (`stacked.py`). It is meant for GPUs.

w acts only on the parameters named in `DECAYED`: weights of linear maps, convolutions and,
without `muon`, embeddings. They are selected by name rather than by rank, since a stack of
blocks gives biases, scales and gates a second axis too. (4) is last in the chain: it sees the
final update and passes it on unchanged. Its d_t lets the average forget the initial weights
early. Gradient accumulation over k batches wraps the whole chain, so (1) to (4) see mean
gradients.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from sora_jax.config import within
from sora_jax.training.stacked import by_shape
from sora_jax.tree import flatten

DECAYED = ("kernel", "embedding")  # the last part of a parameter's name


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Hyperparameters of the optimizer, in the order of equations (1) to (4)."""

    clip: float = 1.0
    lr: float = 1e-3
    muon: bool = False
    muon_stacked: bool = False  # one Newton-Schulz iteration for each shape of matrix: for GPUs
    b1: float = 0.9
    b2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.01
    warmup: int = 100  # steps
    final: float = 0.01  # fraction of lr at the last step
    ema: float = 0.995  # 0: no average
    accumulate: int = 1  # batches per update

    def __post_init__(self):
        within(self, "(0, inf)", "clip", "lr", "eps")
        within(self, "[0, 1)", "b1", "b2", "ema")
        within(self, "[0, 1]", "final")
        within(self, "[0, inf)", "weight_decay", "warmup")
        within(self, "[1, inf)", "accumulate")
        if self.muon_stacked and not self.muon:
            raise ValueError("muon_stacked=True changes nothing without Muon; set muon=True too")


class EmaState(NamedTuple):
    """The state of `ema_params`.

    Attributes:
        count: updates so far, an int32 scalar.
        ema: the averaged parameters, a tree like the parameters.
    """

    count: jax.Array
    ema: Any


def ema_params(decay: float) -> optax.GradientTransformation:
    """Returns equation (4): a transform that averages the parameters after each update.

    It must come last in a chain.
    """

    def init(params: Any) -> Any:
        return EmaState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.array, params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        if params is None:
            raise ValueError("ema_params needs the parameters: call update(updates, state, params)")
        d = jnp.minimum(decay, (1.0 + state.count) / (10.0 + state.count))
        ema = jax.tree.map(
            lambda e, p, u: (d * e + (1 - d) * (p + u)).astype(e.dtype), state.ema, params, updates
        )
        return updates, EmaState(state.count + 1, ema)

    return optax.GradientTransformation(init, update)


def averaged_params(opt_state: Any, params: Any) -> Any:
    """Returns the averaged parameters in an optimizer state; `params` if there is no average."""
    found = [
        x
        for x in jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, EmaState))
        if isinstance(x, EmaState)
    ]
    return found[0].ema if found else params


def schedule(config: OptimConfig, steps: int | jax.Array) -> optax.Schedule:
    """Returns the learning rate by update, equation (3).

    A run has steps / accumulate updates. The warm-up takes at most a tenth of them. The values
    equal those of `optax.warmup_cosine_decay_schedule` bitwise.

    Args:
        config: the hyperparameters.
        steps: batches of the whole run. It may be a traced scalar, so that one compiled program
            trains for any number of steps (`resident.make_steps`).
    """

    def lr(count: Any) -> Any:
        updates = jnp.maximum(steps // config.accumulate, 1)
        warmup = jnp.minimum(config.warmup, jnp.maximum(updates // 10, 1))
        decay = jnp.maximum(updates - warmup, 1)
        rising = config.lr - config.lr * (1 - jnp.minimum(count, warmup) / warmup)
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count - warmup, decay) / decay))
        falling = config.lr * ((1 - config.final) * cosine + config.final)
        return jnp.where(count < warmup, rising, falling)

    return lr


def decayed(params: Any) -> Any:
    """Returns the weight decay mask of (2): a tree like `params`, True where a parameter decays."""
    names = [name.rpartition("/")[2] in DECAYED for name in flatten(params)]
    return jax.tree.unflatten(jax.tree.structure(params), names)


def matrices(params: Any) -> Any:
    """Returns the axes of each matrix of (2'): a tree like `params`, None where (2) applies."""

    def axes(name: str, x: jax.Array):
        if name.rpartition("/")[2] != "kernel":
            return None
        convolution = x.ndim == 4
        return optax.contrib.MuonDimensionNumbers(
            (0, 1, 2) if convolution else x.ndim - 2, x.ndim - 1
        )

    return jax.tree.unflatten(
        jax.tree.structure(params), [axes(name, x) for name, x in flatten(params).items()]
    )


def _adaptive(config: OptimConfig, lr: optax.Schedule) -> optax.GradientTransformation:
    """Returns equation (2), or, with `muon`, (2') for kernels and (2) for the rest."""
    if not config.muon:
        return optax.adamw(
            lr, config.b1, config.b2, config.eps, weight_decay=config.weight_decay, mask=decayed
        )
    muon = optax.contrib.muon(
        lr,
        eps=config.eps,
        weight_decay=config.weight_decay,
        adam_b1=config.b1,
        adam_b2=config.b2,
        muon_weight_dimension_numbers=matrices,
        consistent_rms=0.2,
    )
    return by_shape(muon, matrices) if config.muon_stacked else muon


def make_optimizer(config: OptimConfig, steps: int | jax.Array) -> optax.GradientTransformation:
    """Returns the optimizer, equations (1) to (4), of a run of `steps` batches."""
    chain = [optax.clip_by_global_norm(config.clip), _adaptive(config, schedule(config, steps))]
    if config.ema:
        chain.append(ema_params(config.ema))
    optimizer = optax.chain(*chain)
    return (
        optax.MultiSteps(optimizer, config.accumulate).gradient_transformation()
        if config.accumulate > 1
        else optimizer
    )
