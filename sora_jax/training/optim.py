r"""The optimizer: optax transforms for clipping, AdamW or Muon, a schedule and weight averaging.

    g <- g min(1, c / |g|)                                    clipping by the global norm        (1)
    u  = -lr_t (m^ / (sqrt(n^) + eps) + w p)                  AdamW (arXiv:1711.05101)           (2)
    u  = -lr_t (.2 sqrt(max(a, b)) orth(m~) + w p)            Muon, for a x b matrices alone    (2')
    lr_t: 0 -> lr over `warmup` updates, then a cosine down to lr * `final`                      (3)
    lr_t: 0 -> lr over `warmup` updates, lr, and over the last updates
          lr (1 - (1 - `final`) sqrt(x)), 0 <= x <= 1                                           (3')
    e <- d_t e + (1 - d_t) (p + u),   d_t = min(d, (1 + t) / (10 + t))                           (4)

g is the gradient, c the limit `clip`, p the parameters, u their update, t its number, m^ and n^ the
bias-corrected moments of g, w the weight decay, and e the exponential moving average of p with
decay d (`ema`).

Muon, (2'), replaces AdamW, (2), for kernels when `muon` is set (Jordan, 2024). m~ is the Nesterov
momentum of g, and orth(m~) the orthogonal matrix nearest to it, by five Newton-Schulz iterations.
The factor .2 sqrt(max(a, b)) gives Muon's updates the RMS of AdamW's, so that lr keeps its meaning
(Liu et al., 2025, arXiv:2502.16982). A convolution's kernel counts as a matrix
(height width inputs) x outputs. A stack of blocks counts as one matrix for each block.
`muon_stacked` computes the same updates with one batched Newton-Schulz iteration for each shape of
matrix (`stacked.py`). It is meant for GPUs.

Equation (3) is the schedule "cosine". Equation (3') is "wsd", warm-up-stable-decay (Hu et al.,
2024, arXiv:2404.06395), with the decay of Haegele et al. (2024, arXiv:2405.18392). x rises from 0
to 1 over the last fraction `decay` of the updates. Before that the rate does not depend on the
length of the run, so a run can be made longer or shorter: it goes on from a checkpoint before both
decays (`workdir.open_workdir`).

Weight decay w acts only on the parameters named in `DECAYED`: weights of linear maps, convolutions
and, without `muon`, embeddings. They are selected by name rather than by rank, since a stack of
blocks gives biases, scales and gates a second axis too. The average (4) is last in the chain: it
sees the final update and passes it on unchanged. Its d_t lets the average forget the initial
weights early. Gradient accumulation wraps the whole chain, so (1) to (4) see the mean gradients of
`accumulate` batches.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from sora_jax.config import within
from sora_jax.training.stacked import by_shape
from sora_jax.tree import flatten

SCHEDULES = ("cosine", "wsd")
DECAYED = ("kernel", "embedding")  # last parts of parameters' names


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Hyperparameters of the optimizer, in the order of equations (1) to (4).

    Attributes:
        clip: largest global norm of the gradients, c in (1). Default 1.
        lr: the largest learning rate. Default 1e-3.
        muon: True uses Muon, (2'), for kernels. Default False: AdamW, (2), for all parameters.
        muon_stacked: True batches Muon's iterations by shape of matrix, for GPUs. Default False.
        b1, b2: decay rates of AdamW's moments. Default 0.9 and 0.99.
        eps: the constant of (2). Default 1e-8.
        weight_decay: w of (2) and (2'). Default 0.01.
        schedule: "cosine" (default), equation (3), or "wsd", (3').
        warmup: updates over which the learning rate rises. Default 100.
        decay: fraction of the updates over which the rate of "wsd" falls. Default 0.2.
        final: learning rate at the last step, a fraction of lr. Default 0.01.
        ema: decay d of the averaged weights in (4). Default 0.995; 0: no average.
        accumulate: batches per update. Default 1.
    """

    clip: float = 1.0
    lr: float = 1e-3
    muon: bool = False
    muon_stacked: bool = False
    b1: float = 0.9
    b2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: int = 100
    decay: float = 0.2
    final: float = 0.01
    ema: float = 0.995
    accumulate: int = 1

    def __post_init__(self):
        within(self, "(0, inf)", "clip", "lr", "eps")
        within(self, "[0, 1)", "b1", "b2", "ema")
        within(self, "[0, 1]", "final", "decay")
        within(self, "[0, inf)", "weight_decay", "warmup")
        within(self, "[1, inf)", "accumulate")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule!r}; use {' or '.join(SCHEDULES)}")
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
    """Returns a transform that averages the parameters after each update, equation (4).

    It must come last in a chain. `decay` is d of the equation.
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
    if not found:
        return params

    def is_masked(x: Any) -> bool:
        return isinstance(x, optax.MaskedNode)

    # Parameters that are not trained have no average.
    return jax.tree.map(
        lambda e, p: p if is_masked(e) else e, found[0].ema, params, is_leaf=is_masked
    )


def schedule(config: OptimConfig, steps: int | jax.Array, start: int = 0) -> optax.Schedule:
    """Returns a function from the number of an update to its learning rate, equation (3) or (3').

    A run has steps / accumulate updates. The warm-up of "cosine" takes at most a tenth of them; its
    values equal those of `optax.warmup_cosine_decay_schedule` bitwise.

    Args:
        config: the hyperparameters.
        steps: batches of the whole run. It may be a traced scalar, so that one compiled program
            trains for any number of steps (`resident.make_steps`).
        start: updates that were made before, by an optimizer whose moments are lost. Update 0 of
            this one then has the learning rate of update `start`, and the first `warmup` updates
            rise to the schedule from 0. Default: 0.
    """
    updates = jnp.maximum(steps // config.accumulate, 1)

    def cosine(count: Any) -> Any:
        warmup = jnp.minimum(config.warmup, jnp.maximum(updates // 10, 1))
        decay = jnp.maximum(updates - warmup, 1)
        rising = config.lr - config.lr * (1 - jnp.minimum(count, warmup) / warmup)
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count - warmup, decay) / decay))
        falling = config.lr * ((1 - config.final) * cosine + config.final)
        return jnp.where(count < warmup, rising, falling)

    def wsd(count: Any) -> Any:
        falling = decay_updates(config, steps)
        x = jnp.clip((count - (updates - falling)) / jnp.maximum(falling, 1), 0, 1)
        rising = jnp.minimum(count / max(config.warmup, 1), 1)
        return config.lr * rising * (1 - (1 - config.final) * jnp.sqrt(x))

    whole = {"cosine": cosine, "wsd": wsd}[config.schedule]
    if not start:
        return whole
    again = max(config.warmup, 1)
    return lambda count: whole(start + count) * jnp.minimum(count / again, 1)


def decay_updates(config: OptimConfig, steps: Any) -> Any:
    """Returns the number of updates over which "wsd" falls in a run of `steps` batches."""
    return steps // config.accumulate * config.decay // 1


def stable_steps(config: OptimConfig, steps: int) -> int | None:
    """Returns the number of batches before the learning rate falls, in a run of `steps` batches.

    Until then a longer run is the same to the bit. Returns None for the schedule "cosine", which
    depends on `steps` from its first update on.
    """
    if config.schedule != "wsd":
        return None
    return int(steps // config.accumulate - decay_updates(config, steps)) * config.accumulate


def decayed(params: Any) -> Any:
    """Returns the weight decay mask of (2): a tree like `params`, True where a parameter decays."""
    names = [name.rpartition("/")[2] in DECAYED for name in flatten(params)]
    return jax.tree.unflatten(jax.tree.structure(params), names)


def matrices(params: Any) -> Any:
    """Returns which parameters Muon updates: a tree like `params` with the row and column axes of
    each matrix (`MuonDimensionNumbers`), None where AdamW applies.
    """

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
    """Returns AdamW, equation (2), or, with `muon`, Muon (2') for kernels and AdamW for the rest.

    `lr` maps the number of an update to the learning rate.
    """
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


def make_optimizer(
    config: OptimConfig,
    steps: int | jax.Array,
    start: int = 0,
    trained: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """Returns the optimizer, equations (1) to (4), of a run of `steps` batches.

    Args:
        config: its hyperparameters.
        steps: batches of the whole run.
        start: batches that were made before, by an optimizer whose moments are lost (`schedule`).
            Default 0.
        trained: parameters -> a tree of bool like them, True where a parameter is trained. The
            others stay to the bit, and have neither moments nor averages. Default None: all are
            trained.
    """
    lr = schedule(config, steps, start // config.accumulate)
    chain = [optax.clip_by_global_norm(config.clip), _adaptive(config, lr)]
    if config.ema:
        chain.append(ema_params(config.ema))
    optimizer = optax.chain(*chain)
    if trained is not None:
        optimizer = optax.chain(
            optax.masked(optimizer, trained),
            optax.masked(
                optax.set_to_zero(), lambda x: jax.tree.map(lambda on: not on, trained(x))
            ),
        )
    return (
        optax.MultiSteps(optimizer, config.accumulate).gradient_transformation()
        if config.accumulate > 1
        else optimizer
    )
