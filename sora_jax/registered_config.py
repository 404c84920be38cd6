"""Config file that returns a registered configuration, for `config_flags`, which reads only files.

`cli` replaces --config=NAME by `registered_config.py:NAME`.
"""

from ml_collections import ConfigDict

from sora_jax.registry import CONFIGS


def get_config(name: str) -> ConfigDict:
    """Returns the values of a registered configuration. Raises UserError for an unknown name."""
    return ConfigDict(CONFIGS[name]())
