"""Sweeps: the trials of an ablation, written in five words.

    param(key, values)    one variant for each value of a configuration key
    zip(a, b, ...)        the first of a with the first of b, the second with the second, ...
    prod(a, b, ...)       every combination of a variant of a with one of b, ...
    chain(a, b, ...)      the variants of a, then those of b, ...
    seeds(n)              one variant for each of the seeds 0 ... n - 1

Each word returns a list of variants; a variant is values of some configuration keys, with names. A
sweep file is a Python file with `get_sweep()`; its docstring is the question of the study:

    '''Does full attention learn more than factorised attention?'''

    from sora_jax.ablations.sweep import Sweep, param, prod, seeds

    def get_sweep():
        attention = param("model.attention", {"factorised": "pure", "full": "full"})
        return Sweep(
            config="experiments/configs/playhouse_nano.py",
            trials=prod(attention, seeds(3)),
            always={"train.steps": 200},
        )

Values given as a dictionary have names for the report (blank for none); others are named by their
key, as in "depth=4". A variant without its seed is an arm. So this sweep has two arms,
"factorised" and "full", of three trials each. A later value of the same key replaces an earlier
one.
"""

import builtins
import dataclasses
import importlib.util
import inspect
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sora_jax.config import known_keywords, nearest, nearest_file
from sora_jax.errors import UserError
from sora_jax.files import user_path

SEED = "train.seed"
MATCHED = ("steps", "depth", "width")  # settings that can be changed until arms cost equal FLOPs


@dataclasses.dataclass(frozen=True)
class Variant:
    """Values of some configuration keys.

    Attributes:
        values: value by key, such as {"model.depth": 4}.
        names: name of each value in reports, by key. A seed has no name.
    """

    values: Mapping[str, Any]
    names: Mapping[str, str]

    def __or__(self, other: "Variant") -> "Variant":
        return Variant({**self.values, **other.values}, {**self.names, **other.names})

    @property
    def arm(self) -> str:
        """The name of the variant without its seed."""
        return ", ".join(name for name in self.names.values() if name.strip()) or "base"


Variants = list[Variant]


def param(key: str, values: Sequence[Any] | Mapping[str, Any]) -> Variants:
    """Returns a variant for each value of a configuration key.

    Args:
        key: the key, such as "model.attention".
        values: the values, or {name of a value: value}.
    """
    last = key.rsplit(".", 1)[-1]
    named = values if isinstance(values, Mapping) else {f"{last}={v}": v for v in values}
    return [Variant({key: value}, {key: name}) for name, value in named.items()]


def seeds(count: int) -> Variants:
    """Returns a variant for each of the seeds 0 ... count - 1 of a run (`train.seed`)."""
    return [Variant({SEED: seed}, {}) for seed in range(count)]


def chain(*parts: Variants) -> Variants:
    """Returns the variants of all parts, in order."""
    return list(itertools.chain(*parts))


def prod(*parts: Variants) -> Variants:
    """Returns every combination of one variant of each part; the last part changes fastest."""
    return [_joined(several) for several in itertools.product(*parts)]


def zip(*parts: Variants) -> Variants:
    """Returns the first variants of all parts together, then the second ones, and so on.

    Raises:
        UserError: the parts have different numbers of variants.
    """
    if len({len(part) for part in parts}) > 1:
        numbers = ", ".join(str(len(part)) for part in parts)
        raise UserError(f"zip of {numbers} variants; give parts of one length, or use prod")
    return [_joined(several) for several in builtins.zip(*parts, strict=True)]


def _joined(several: Sequence[Variant]) -> Variant:
    joined = Variant({}, {})
    for variant in several:
        joined = joined | variant
    return joined


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The design of a study: the trials, and how they are compared.

    Attributes:
        config: the configuration that all trials share: a file, or a registered name.
        trials: the variants that are trained.
        always: values of configuration keys of all trials. Default: none.
        sizes: further values by the name of a size, such as {"gpu": {"data.format": "S"}}; a flag
            selects one. Default: none.
        measure: the primary measure, named before the run: a metric of the last validation, of
            which less is better. Default: "val/loss".
        within: configuration keys; arms are compared only if they agree in these. Default: none.
        match: the setting that is changed until each arm costs as many FLOPs as the first: "steps",
            "depth" or "width" (`budget.matched`). Default "": none.
        suites: suites of the scoreboard that score the trained weights. Default: none.
        prompts: number of prompts of each suite. Default 32.
        question: the question of the study, one paragraph. Default: the docstring of its file.
    """

    config: str
    trials: Variants
    always: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sizes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    measure: str = "val/loss"
    within: tuple[str, ...] = ()
    match: str = ""
    suites: tuple[str, ...] = ()
    prompts: int = 32
    question: str = ""

    def __post_init__(self):
        if not self.trials:
            raise ValueError("trials is empty; give variants, such as param(...)")
        if self.match and self.match not in MATCHED:
            raise ValueError(f"match={self.match!r}; use one of {', '.join(MATCHED)}")

    def values(self, variant: Variant, size: str = "") -> dict[str, Any]:
        """Returns the values of a trial's configuration keys: those of `always`, of the size and of
        the variant, where later ones replace earlier ones.

        Args:
            variant: the trial's variant.
            size: the name of one of `sizes`. Default "": none.

        Raises:
            UserError: the sweep has no such size.
        """
        if size and size not in self.sizes:
            raise UserError(f"the sweep has no size {size}; {nearest(size, self.sizes)}")
        return {**self.always, **self.sizes.get(size, {}), **variant.values}


# A dataclass makes its own: a misspelt attribute is answered with the nearest.
Sweep.__init__ = known_keywords(Sweep.__init__)


def read_sweep(path: str | os.PathLike) -> Sweep:
    """Returns the sweep of a file.

    Raises:
        UserError: the file does not exist, has no get_sweep(), or fails.
    """
    file = user_path(path)
    if not file.is_file() or file.suffix != ".py":
        raise UserError(f"no sweep {path}; {nearest_file(file, 'experiments/sweeps')}")
    spec = importlib.util.spec_from_file_location(f"sweep_{file.stem}", file)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_sweep"):
            raise UserError(f"{path} has no get_sweep(); see experiments/sweeps")
        sweep = module.get_sweep()
    except UserError:
        raise
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"the sweep {path} fails: {message}") from error
    if not isinstance(sweep, Sweep):
        raise UserError(f"get_sweep() of {path} returns no Sweep but {type(sweep).__name__}")
    question = sweep.question or inspect.getdoc(module) or ""
    return dataclasses.replace(sweep, question=question, config=_beside(sweep.config, file))


def _beside(config: str, sweep: Path) -> str:
    """Returns the path of a configuration's file that a sweep names.

    It is looked for from the current folder, then from the folder of the sweep file and the two
    above it, so that shipped sweeps can be started from elsewhere. A registered name is returned
    unchanged.
    """
    if not config.endswith(".py") or user_path(config).is_file():
        return config
    found = (folder / config for folder in sweep.absolute().parents[:3])
    return next((str(file) for file in found if file.is_file()), config)
