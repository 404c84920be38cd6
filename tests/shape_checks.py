"""The type checker of the import hook in `conftest.py`, and the modules that it checks."""

from beartype import BeartypeConf, beartype

CHECKED_MODULES = [
    "sora_jax.nn",
    "sora_jax.models",
    "sora_jax.flow",
    "kernels.conv_prologue.api",
    "kernels.gated_norm.api",
    "kernels.spatial_attention.api",
    "kernels.temporal_attention.api",
]
# An int passes for a float.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
