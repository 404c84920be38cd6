"""The public API for type checkers: the names of `__init__._MODULES`."""

from sora_jax.clip import Clip as Clip
from sora_jax.errors import UserError as UserError
from sora_jax.evaluation.run import evaluate as evaluate
from sora_jax.flow.guidance import Guidance as Guidance
from sora_jax.flow.sampler import SamplerConfig as SamplerConfig
from sora_jax.media import fit_clip as fit_clip
from sora_jax.media import read_video as read_video
from sora_jax.modality import FORMATS as FORMATS
from sora_jax.modality import ClipFormat as ClipFormat
from sora_jax.models.st_dit import STDiT as STDiT
from sora_jax.models.st_dit import STDiTConfig as STDiTConfig
from sora_jax.mp4 import write_mp4 as write_mp4
from sora_jax.oracles.catalogue import ORACLES as ORACLES
from sora_jax.oracles.read_clip import read_clip as read_clip
from sora_jax.pipelines.generate import Pipeline as Pipeline
from sora_jax.pipelines.load import load_pipeline as load_pipeline
from sora_jax.pipelines.request import Request as Request
from sora_jax.training.configs import load_run as load_run
from sora_jax.training.run import Run as Run
from sora_jax.training.train import train as train
from sora_jax.tuning.finetuning import finetune as finetune
from sora_jax.worlds.playhouse.draw import draw as draw
from sora_jax.worlds.playhouse.families import FAMILIES as FAMILIES
from sora_jax.worlds.playhouse.takes import render as render

__version__: str
