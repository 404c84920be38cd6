"""Loads runs from configurations: a Python file with get_config(), or a registered function."""

import copy
import importlib.util
import os
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

from sora_jax import config as config_lib
from sora_jax.config import known_keywords
from sora_jax.errors import UserError, expect
from sora_jax.files import user_path
from sora_jax.registry import CONFIGS
from sora_jax.training.run import Run


def read_values(config: str | os.PathLike) -> dict[str, Any]:
    """Returns the values of a configuration, as a new dictionary.

    Args:
        config: a file whose name ends in .py, or a name in CONFIGS.

    Raises:
        UserError: the configuration does not exist, has no get_config(), or fails.
    """
    try:
        values = _get_config(config)()
    except UserError:
        raise
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"the configuration {config} fails: {message}") from error
    return copy.deepcopy(values.to_dict() if hasattr(values, "to_dict") else dict(values))


def _get_config(config: str | os.PathLike) -> Callable[[], Any]:
    """Returns the configuration's function: () -> its values, a mapping by key."""
    if not str(config).endswith(".py"):
        if not CONFIGS:
            raise UserError(
                f"no configuration {str(config)!r} is registered; give the path of a file, such as "
                "experiments/configs/playhouse_nano.py"
            )
        return CONFIGS[str(config)]
    path = user_path(config)
    if not path.is_file():
        hint = config_lib.nearest_file(path, "experiments/configs")
        raise UserError(f"no configuration {path}; {hint}")
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(
            f"{path} is not a Python file; give a file such as those of experiments/configs"
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} has no get_config(); see experiments/configs")
    return module.get_config


@known_keywords
def load_run(config: str | os.PathLike, overrides: Mapping[str, Any] | None = None) -> Run:
    """Returns the run of a configuration.

    Args:
        config: a file or a name, as in `read_values`.
        overrides: values by key, such as {"train.steps": 200}.

    Raises:
        UserError: the configuration has no section `model`, a key is unknown or a value is wrong.
    """
    values = read_with(config, overrides)
    if "model" not in values:
        raise UserError(f"{config} is of no model, only {', '.join(values)}; give one of a run")
    config_lib.check_keys((key.removeprefix("config.") for key in overrides or {}), Run)
    return config_lib.from_dict(Run, values)


def read_with(
    config: str | os.PathLike, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the values of a configuration as nested dictionaries, with some replaced.

    Args:
        config: a file whose name ends in .py, or a name in CONFIGS.
        overrides: values by key, such as {"train.steps": 200}. Default: none.

    Raises:
        UserError: the configuration cannot be read, or a key or value of `overrides` does not fit
            its sections.
    """
    expect(config, (str, os.PathLike), "config", "give a file or the name of a configuration")
    expect(overrides, (Mapping, NoneType), "overrides", 'give a dict, as {"train.steps": 200}')
    values = read_values(config)
    for key, value in (overrides or {}).items():
        *parents, last = key.removeprefix("config.").split(".")
        part = values
        for name in parents:
            part = part.setdefault(name, {})
            if not isinstance(part, dict):
                raise UserError(f"unknown key {key}: {name} of {config} has no keys of its own")
        if isinstance(value, Mapping):
            raise UserError(
                f"{key} is given a section; give its keys one by one, such as "
                f"{key}.{next(iter(value), 'steps')!s}"
            )
        part[last] = value
    return values
