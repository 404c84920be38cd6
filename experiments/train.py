r"""Train the diffusion transformer.

    python -m experiments.train --config=experiments/configs/playhouse_nano.py --workdir=runs/nano
    python -m experiments.train --config=experiments/configs/playhouse_nano.py \
        --config.train.steps=200 --workdir=runs/short
    python -m experiments.train --config=experiments/configs/playhouse_nano.py \
        --config.data.source=video_folder \
        --config.data.path=MY_VIDEOS --init_from=runs/nano/weights.safetensors --workdir=runs/mine

The same command given again continues the run from its last checkpoint, bitwise as if it had not
stopped. The end writes WORKDIR/weights.safetensors: the averaged weights, with the configuration,
the loss curve and what they were trained on.

tensorboard --logdir=WORKDIR/tensorboard shows losses by modality and noise level, speed and memory.
--config.profile.start=50 adds five steps of JAX's profiler from step 50 on,
--config.sample.every=500 clips of a few prompts, also written into WORKDIR/samples.

Several hosts: the same command in each process, with --coordinator=auto under SLURM
(experiments/launch/train.sbatch), on GKE and TPU pods; elsewhere with --coordinator=HOST:PORT of
process 0, --num_processes=N and --process_id=I. All see the same WORKDIR and latents.
"""

import contextlib
import dataclasses
import sys
from pathlib import Path

import numpy as np
from absl import flags, logging
from ml_collections import config_flags

from experiments.program import DataConfig, Program, Run, assemble, card
from sora_jax import config as config_lib
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Python file with get_config(); override keys as --config.train.steps=200"
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "directory of the run: checkpoints, metrics, weights"
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "several processes: HOST:PORT of process 0, or auto where a cluster tells it",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "how many, with --coordinator=HOST:PORT"
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "this one's number from 0, with --coordinator=HOST:PORT"
)
_INIT_FROM = flags.DEFINE_string(
    "init_from", None, "weights of a model of the same config, to continue from or fine-tune"
)


def identify(data: DataConfig) -> dict:
    """What the data hold, found out before anything is made of them: a run refuses to go on with
    other data than it began with.
    """
    from sora_jax import weights
    from sora_jax.data import latents
    from sora_jax.worlds.playhouse.spec import WORLD_VERSION

    path = Path(data.path).expanduser()
    if data.path and (path / latents.DESCRIPTION).exists():
        return latents.identity(path)
    if data.source == "playhouse":
        if data.path:
            raise UserError(
                f"no latents in {path}; make them with experiments.precompute --output={path}, "
                "or leave config.data.path empty"
            )
        made_from = {"source": "playhouse", "split": "train", "world_version": WORLD_VERSION}
    else:
        from sora_jax.data import video_folder

        if not path.is_dir():
            raise UserError(
                f"config.data.path={path} is not a directory; give a folder of videos, or "
                "latents of experiments.precompute"
            )
        made_from = {
            "source": "video_folder",
            "split": "train",
            "set": video_folder.set_name(path, FORMATS[data.format]),
        }
    kinds = ("video_tokenizer", "audio_tokenizer")
    return made_from | {
        "tokenizers": {
            kind: weights.load_weights(weights.shipped(kind), kind).fingerprint for kind in kinds
        }
    }


def latents_for(data: DataConfig, workdir: Path) -> Path:
    """The latents to train on: the folder given, or WORKDIR/data, made here with the shipped
    tokenizers unless it is whole.
    """
    from sora_jax.data import latents, sources, video_folder
    from sora_jax.parallel import processes
    from sora_jax.weights import load_audio_tokenizer, load_video_tokenizer

    path = Path(data.path).expanduser()
    if data.path and (path / latents.DESCRIPTION).exists():
        return path
    if processes.several():
        raise UserError(
            "several processes train on latents that are there; make them with "
            "experiments.precompute, and give config.data.path"
        )
    # before clips are cut, which may take hours
    latents.refuse_others(workdir / "data", identify(data))
    if data.source == "playhouse":
        source = sources.PlayhouseSource("train", FORMATS[data.format], data.clips)
    else:
        source = video_folder.VideoFolderSource(
            video_folder.built_set(path, workdir / "clips", FORMATS[data.format])
        )
    video_tokenizer, video = load_video_tokenizer()
    audio_tokenizer, audio = load_audio_tokenizer()
    fingerprints = {"video_tokenizer": video.fingerprint, "audio_tokenizer": audio.fingerprint}
    latents.precompute(source, video_tokenizer, audio_tokenizer, workdir / "data", fingerprints)
    return workdir / "data"


def tell_devices(mesh) -> None:
    """One line on stderr about where a run on several devices lies; and what it leaves idle."""
    import jax

    idle = jax.device_count() - mesh.size
    if jax.device_count() > 1 and jax.process_index() == 0:
        rest = (
            f"; {idle} of {jax.device_count()} devices are idle: config.mesh.data=-1 takes all"
            if idle
            else ""
        )
        print(
            f"on {' x '.join(f'{axis} {n}' for axis, n in mesh.shape.items())} devices{rest}",
            file=sys.stderr,
        )


def previews(run: Run, program: Program, tokenizer, tokenizers: dict[str, str], folder: Path):
    """state -> pictures of the clips that its averaged weights make.

    Raises UserError where the latents are not the shipped tokenizers', or for several processes,
    none of which has all weights.
    """
    from sora_jax.parallel import processes
    from sora_jax.pipelines.generate import Pipeline
    from sora_jax.pipelines.preview import preview
    from sora_jax.train.optim import averaged_params
    from sora_jax.weights import load_audio_tokenizer, load_video_tokenizer

    if processes.several():
        raise UserError(
            f"config.sample.every={run.sample.every} makes clips in one process; leave it 0, "
            "and use experiments.sample on the weights"
        )
    (video, video_weights), (audio, audio_weights) = load_video_tokenizer(), load_audio_tokenizer()
    if tokenizers != {
        "video_tokenizer": video_weights.fingerprint,
        "audio_tokenizer": audio_weights.fingerprint,
    }:
        raise UserError(
            f"config.sample.every={run.sample.every} makes clips with the shipped tokenizers, "
            "and the latents are of others; leave it 0"
        )

    def pictures(state):
        model = program.merge(averaged_params(state.opt_state, state.params))
        pipeline = Pipeline(
            model, video, audio, tokenizer, program.form, tokenizers, shift=run.flow.timesteps.shift
        )
        return preview(pipeline, run.sample, folder / f"{int(state.step):07d}")

    return pictures


def main(_):
    if not _WORKDIR.value:
        raise UserError(
            "--workdir is missing; give a directory for checkpoints, metrics and weights"
        )
    values = config_lib.from_flag(_CONFIG)
    if "kind" in values:
        raise UserError(
            f"--config is for the {values['kind']}; give it to experiments.train_tokenizer, or "
            "here one with a model"
        )
    run = config_lib.from_dict(Run, values)

    import jax

    from kernels import target
    from sora_jax import weights as weights_lib
    from sora_jax.compat import enable_compile_cache
    from sora_jax.data import latents
    from sora_jax.models import cost
    from sora_jax.models.text_encoder import TextTokenizer
    from sora_jax.parallel import processes, topologies
    from sora_jax.parallel.mesh import traced_for
    from sora_jax.train import metrics
    from sora_jax.train.identity import open_workdir
    from sora_jax.train.loop import fit
    from sora_jax.train.optim import averaged_params, make_optimizer
    from sora_jax.train.state import split_module
    from sora_jax.worlds.playhouse.families import FAMILIES

    # before anything touches a device
    processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    with processes.leaving_on_error(), contextlib.ExitStack() as stack:
        with processes.together():
            enable_compile_cache()
            start = (
                weights_lib.load_weights(_INIT_FROM.value, "st_dit") if _INIT_FROM.value else None
            )
            dataset = identify(run.data)
            family = FAMILIES[dataset.get("family", "room")]
            words = tuple(start.metadata.get("words", family.words) if start else family.words)
            # rooms have the length that is asked for, as ever
            if "family" in dataset and family.text_length != run.data.text_length:
                logging.info(
                    "prompts have the %d words that family %s needs",
                    family.text_length,
                    family.name,
                )
                run = dataclasses.replace(
                    run, data=dataclasses.replace(run.data, text_length=family.text_length)
                )
            if run.model.vocabulary <= 1 + len(words):
                raise UserError(
                    f"config.model.vocabulary={run.model.vocabulary} has no room for "
                    f"{len(words)} words; give at least {len(words) + 2}"
                )
            tokenizer = TextTokenizer(
                words, buckets=run.model.vocabulary - 1 - len(words), length=run.data.text_length
            )
            mesh = run.mesh.make()
            processes.check_mesh(mesh)
            tell_devices(mesh)
            program = assemble(run, mesh)
            given = (
                weights_lib.fill(program.shapes, start.params, _INIT_FROM.value) if start else None
            )
            workdir = stack.enter_context(
                open_workdir(_WORKDIR.value, run, start.fingerprint if start else None, dataset)
            )
            data = latents_for(run.data, workdir.path)
            checks = {
                "fingerprints": start.metadata.get("tokenizers") if start else None,
                "format": program.form,
            }
            rows = (
                processes.rows_here(program.placement[1], run.train.batch_size)
                if processes.several()
                else None
            )
            batches = latents.make_loader(
                data,
                tokenizer,
                run.train.batch_size,
                run.train.seed,
                **checks,
                rows=rows,
                skip_damaged=run.data.skip_damaged,
            )
            if processes.several():
                batches = processes.GlobalBatches(
                    batches, program.placement[1], run.train.batch_size
                )
            description = latents.open_set(data)[1]
        # Born where it will lie: without given weights no device ever holds a state that only all
        # of them can.
        state = jax.jit(
            lambda given: program.begin(given or split_module(program.create())[0]),
            out_shardings=program.placement[0],
        )(given)
        peak = mesh.size * topologies.peak_flops(target.current().slug)
        with traced_for(mesh):
            pictures = None
            if run.sample.every:
                pictures = previews(
                    run, program, tokenizer, description["tokenizers"], workdir.path / "samples"
                )
            flops = None  # not for a CPU, whose short runs need not wait for the count
            if jax.default_backend() != "cpu":
                optimizer = make_optimizer(run.optim, run.train.steps)
                sizes = (program.form, run.train.batch_size, run.data.text_length)
                counted = cost.measure(run.model, *sizes, optimizer)
                update = counted.optimizer / run.optim.accumulate  # of each step, on average
                flops = {"model": counted.step, "optimizer": update}
            state = fit(
                state,
                program.step,
                batches,
                run.train,
                workdir,
                None,
                0,
                run.profile,
                pictures,
                run.sample.every,
                flops,
                peak,
            )
        rows = metrics.read(workdir.path / "metrics.jsonl")
        metadata = card(
            run,
            workdir.config,
            rows,
            description,
            description["tokenizers"],
            words,
            int(state.step),
        )
        path = workdir.path / "weights.safetensors"
        averaged = processes.gathered(averaged_params(state.opt_state, state.params))
        if not processes.is_first():
            return
        fingerprint = weights_lib.save_weights(
            path, "st_dit", averaged, run.model, metadata, dtype=np.float16
        )
        jax.block_until_ready(state)
        print(
            f"{path} ({fingerprint}): {int(state.step)} steps, loss "
            f"{rows[-1]['loss'] if rows else float('nan'):.4f}"
        )


if __name__ == "__main__":
    run_main(main)
