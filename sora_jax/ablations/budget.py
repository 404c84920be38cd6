"""Arms of equal FLOPs: changes the steps, depth or width of each arm until it costs what the first
one does.

    cost(arm) = steps * (step + update / accumulate)                                             (1)
    off(arm) = cost(arm) / cost(first) - 1                                                       (2)

`step` is the FLOPs of the loss and gradient of a batch, and `update` the FLOPs of an update of the
optimizer, one in `accumulate` steps. Both are counted in the jaxpr (`sora_jax.flops`) without
recomputation. `matched` changes what the sweep names in `match`. Whole depths and widths do not
meet the budget exactly, so the number of steps closes the rest; an arm whose |off| stays above
TOLERANCE is refused. Where the number of steps changes, the warm-up of the learning rate and the
time constant of the weights' average scale with it, so that both stay the same share of the run.
"""

import bisect
import dataclasses
from collections.abc import Iterator

from sora_jax.ablations.kinds import AnyRun, step_flops
from sora_jax.errors import UserError
from sora_jax.training.run import Run

TOLERANCE = 0.02  # largest |off| of equation (2)
COARSE = 0.2  # largest |off| of the nearest depth or width, before the steps make up the rest
LARGEST = 4  # depth and width are tried up to this multiple of the configured value


def flops(run: AnyRun) -> float:
    """Returns the FLOPs of a run, equation (1). For a mixture, `step` is the mean by the sets'
    weights.
    """
    step, update = step_flops(run)
    return float(run.train.steps * (step + update / run.optim.accumulate))


def matched(run: AnyRun, budget: float, match: str, name: str) -> AnyRun:
    """Returns a run with another number of steps, depth or width, which costs `budget` FLOPs.

    Args:
        run: the run as it is configured.
        budget: FLOPs, those of the first arm.
        match: "steps" changes the number of steps. "depth" or "width", for models alone, takes the
            nearest depth or width, and the number of steps then makes up the rest. "" returns the
            run unchanged.
        name: the name of the arm, for messages.

    Raises:
        UserError: no depth or width is within COARSE of the budget, or no number of steps within
            TOLERANCE; the message says by how much the nearest misses. Or the depth or width of a
            tokenizer is asked for.
    """
    if not match:
        return run
    if match != "steps":
        if not isinstance(run, Run):
            raise UserError(f"match={match!r} is of models; match tokenizers by steps")
        models = list(_models(run, match))
        above = bisect.bisect_left(models, budget, key=flops)  # FLOPs grow with either
        near = models[max(0, above - 1) : above + 1]
        run = min(near, key=lambda one: abs(flops(one) - budget))
        off, nearest = flops(run) / budget - 1, f"{match}={getattr(run.model, match)}"
        if abs(off) > COARSE:
            raise _missed(name, off, f"{nearest} is nearest", "match by steps")
    run = _with_steps(run, max(1, round(run.train.steps * budget / flops(run))))
    off = flops(run) / budget - 1
    if abs(off) > TOLERANCE:
        raise _missed(name, off, f"steps={run.train.steps} is nearest", "give a larger train.steps")
    return run


def _missed(name: str, off: float, nearest: str, remedy: str) -> UserError:
    direction = "above" if off > 0 else "below"
    return UserError(
        f"the arm {name} cannot cost what the first arm does: {nearest}, {abs(off):.1%} "
        f"{direction}; {remedy}"
    )


def _with_steps(run: AnyRun, steps: int) -> AnyRun:
    ratio = steps / run.train.steps
    ema = max(0.0, 1 - (1 - run.optim.ema) / ratio) if run.optim.ema else 0.0
    optim = dataclasses.replace(run.optim, warmup=round(run.optim.warmup * ratio), ema=ema)
    return dataclasses.replace(run, optim=optim, train=dataclasses.replace(run.train, steps=steps))


def _models(run: Run, field: str) -> Iterator[Run]:
    """Yields the run with every depth or width that the model allows, in ascending order."""
    for value in range(1, LARGEST * getattr(run.model, field) + 1):
        try:
            model = dataclasses.replace(run.model, **{field: value})
        except ValueError:
            continue
        yield dataclasses.replace(run, model=model)
