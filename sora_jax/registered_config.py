"""Configuration file that returns a configuration registered in `registry.CONFIGS`.

The flag --config (of `ml_collections.config_flags`) reads only files. `cli` therefore replaces
--config=NAME by --config=registered_config.py:NAME.
"""

from ml_collections import ConfigDict

from sora_jax.registry import CONFIGS


def get_config(name: str) -> ConfigDict:
    """Returns the values of the configuration registered as `name`. Raises UserError for an unknown
    name.
    """
    return ConfigDict(CONFIGS[name]())
