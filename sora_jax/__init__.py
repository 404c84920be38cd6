"""sora_jax: joint video and audio generation in JAX.

    import sora_jax

    pipe = sora_jax.load_pipeline()
    clip = pipe("a large red ball is dropped and bounces twice", seed=1)
    clip.save("out.mp4")

The names below are the public API. Each is imported on first use, so `import sora_jax` is fast
and does not import JAX. Everything else is imported from its own module.
"""

import importlib
import importlib.util

__version__ = "0.1.0"

# Name -> defining module. `__init__.pyi` declares the same names for type checkers.
_MODULES = {
    "FAMILIES": "worlds.playhouse.families",
    "FORMATS": "modality",
    "ORACLES": "oracles.catalogue",
    "Clip": "clip",
    "ClipFormat": "modality",
    "Guidance": "flow.guidance",
    "Pipeline": "pipelines.generate",
    "Request": "pipelines.request",
    "Run": "training.run",
    "STDiT": "models.st_dit",
    "STDiTConfig": "models.st_dit",
    "SamplerConfig": "flow.sampler",
    "UserError": "errors",
    "draw": "worlds.playhouse.draw",
    "evaluate": "evaluation.run",
    "finetune": "tuning.finetuning",
    "fit_clip": "media",
    "load_pipeline": "pipelines.load",
    "load_run": "training.configs",
    "read_clip": "oracles.read_clip",
    "read_video": "media",
    "render": "worlds.playhouse.takes",
    "train": "training.train",
    "write_mp4": "mp4",
}
__all__ = [*_MODULES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll] (`__init__.pyi`)


def __getattr__(name: str):
    if name not in _MODULES:
        if not name.startswith("_") and importlib.util.find_spec(f"sora_jax.{name}"):
            return importlib.import_module(f"sora_jax.{name}")
        hint = ""
        if not name.startswith("_"):
            hint = "; " + importlib.import_module("sora_jax.config").nearest(name, __all__)
        raise AttributeError(f"module 'sora_jax' has no attribute {name!r}{hint}")
    value = getattr(importlib.import_module(f"sora_jax.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
