"""The configuration registered under a name, for `config_flags`, which reads files: it is given as
`registered_config.py:NAME`, and `cli` writes that for --config=NAME.
"""

from ml_collections import ConfigDict

from sora_jax.registry import CONFIGS


def get_config(name: str) -> ConfigDict:
    """Values of a registered configuration. Raises UserError for a name that is not registered."""
    return ConfigDict(CONFIGS[name]())
