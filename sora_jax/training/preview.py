"""Preview clips of a model during training, written to its run's directory."""

from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from sora_jax import mp4
from sora_jax.contact_sheet import contact_sheet
from sora_jax.errors import UserError
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.models.text_encoder import PromptEncoder
from sora_jax.parallel import processes
from sora_jax.parallel.mesh import traced_without_kernels
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.request import Request
from sora_jax.training.optim import averaged_params
from sora_jax.training.program import Program
from sora_jax.training.run import Run
from sora_jax.training.state import TrainState
from sora_jax.training.watch import SampleConfig
from sora_jax.weights import load_audio_tokenizer, load_video_tokenizer


def previews(
    run: Run,
    program: Program,
    tokenizer: PromptEncoder,
    tokenizers: Mapping[str, str],
    folder: Path,
) -> Callable[[TrainState], dict[str, np.ndarray]]:
    """Returns a function that generates clips with the averaged weights of a training state.

    Args:
        run: the run; `run.sample` gives the prompts and the sampler's steps and guidance.
        program: the run's program.
        tokenizer: the text tokenizer.
        tokenizers: fingerprints of the video and audio tokenizers that made the latents.
        folder: each call writes its clips to a subfolder of it, named by the step.

    Returns:
        A function state -> {"clip_0": uint8 [H, W, 3], ...}, the clips' contact sheets (a picture
        of some frames and of the sound).

    Raises:
        UserError: the latents were made by other tokenizers than those of `run.sample`, or several
            processes train together, because none of them holds all weights.
    """
    if processes.several():
        raise UserError(
            f"config.sample.every={run.sample.every} makes clips in one process; leave it 0, "
            "and use experiments.sample on the weights"
        )
    video, video_weights = load_video_tokenizer(run.sample.video_tokenizer or None)
    audio, audio_weights = load_audio_tokenizer(run.sample.audio_tokenizer or None)
    given = {
        "video_tokenizer": video_weights.latents,
        "audio_tokenizer": audio_weights.latents,
    }
    if tokenizers != given:
        raise UserError(
            f"config.sample.every={run.sample.every} makes clips with the shipped tokenizers, "
            "and the latents are of others; name their files in config.sample.video_tokenizer and "
            "config.sample.audio_tokenizer, or leave it 0"
        )

    # The pipeline passes no shardings to the operations.
    mesh = jax.tree.leaves(program.placement[0])[0].mesh

    def pictures(state: TrainState) -> dict[str, np.ndarray]:
        model = program.merge(averaged_params(state.opt_state, state.params))
        shift = run.flow.timesteps.shift
        parts = (model, video, audio, tokenizer, program.format, dict(tokenizers))
        pipeline = Pipeline(*parts, shift=shift)
        with traced_without_kernels(mesh):
            return preview(pipeline, run.sample, folder / f"{int(state.step):07d}")

    return pictures


def preview(pipeline: Pipeline, config: SampleConfig, folder: Path) -> dict[str, np.ndarray]:
    """Generates a clip for each of `config.prompts`, with seeds 0, 1, ..., and writes them to
    `folder`.

    Each clip is written as an mp4 and as a contact sheet in png.

    Args:
        pipeline: the pipeline that generates.
        config: the prompts, and the steps and guidance of the sampler.
        folder: where the files are written.

    Returns:
        The contact sheets {"clip_0": uint8 [H, W, 3], ...}.

    Raises:
        UserError: the model's outputs are not finite.
    """
    sampler = SamplerConfig(steps=config.steps, guidance=Guidance(text=config.guidance))
    requests = [Request(prompt, seed=i, sampler=sampler) for i, prompt in enumerate(config.prompts)]
    folder.mkdir(parents=True, exist_ok=True)
    sheets = {}
    for i, clip in enumerate(pipeline.generate_batch(requests)):
        name = f"clip_{i}"
        mp4.write_mp4(folder / f"{name}.mp4", clip, clip.provenance)
        contact_sheet(folder / f"{name}.png", clip, config.prompts[i])
        sheets[name] = np.asarray(Image.open(folder / f"{name}.png").convert("RGB"))
    return sheets
