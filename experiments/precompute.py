r"""Compute latents once, so that training never runs the tokenizers.

    python -m experiments.precompute --source=playhouse --split=train --num_clips=20000 \
        --output=data/latents_train
    python -m experiments.precompute --source=playhouse --split=val --num_clips=512 \
        --output=data/latents_val
    python -m experiments.precompute --source=video_folder --path=~/my_videos \
        --output=data/my_latents

--output receives shards of 1,024 clips (21 kB per clip at the nano format) and dataset.json: the
clip format, the fingerprints (hashes) of both tokenizers and the number of clips. The same command
continues a stopped run. A larger --num_clips extends a finished set. Training refuses latents of
other tokenizers than those that it is configured with.

--path is a directory of videos, or a data set that was built before. A directory is first built
into a data set in the folder OUTPUT_clips, as by experiments.build_data.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from experiments import clip_format
from sora_jax import weights
from sora_jax.cli import run_main
from sora_jax.data.latents.precompute import precompute, refuse_others
from sora_jax.data.named_sources import SOURCES, Selection
from sora_jax.errors import UserError
from sora_jax.worlds.playhouse.families import FAMILIES

flags.adopt_module_key_flags(clip_format)

_SOURCE = flags.DEFINE_string(
    "source", "playhouse", "Source of the clips: playhouse, video_folder or a registered one."
)
_SPLIT = flags.DEFINE_string(
    "split",
    "train",
    "Split: train; val, whose combinations (playhouse) or files (video_folder) train does not "
    "hold; or another split of the family.",
)
_FAMILY = flags.DEFINE_string(
    "family",
    "room",
    f"playhouse: family of scenes: {', '.join(FAMILIES)}; or a registered one.",
)
_STYLE = flags.DEFINE_string(
    "style",
    None,
    "playhouse: draw this style alone: flat, realistic, cinematic or anime. Families film, "
    "occlude, talk and story have styles. Default: all.",
)
_NUM_CLIPS = flags.DEFINE_integer("num_clips", 20_000, "playhouse: number of clips.", lower_bound=1)
_PATH = flags.DEFINE_string(
    "path", None, "video_folder: a directory of videos, or the folder of a built set."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the latents: new, or that of an earlier run. Required."
)
_VIDEO_TOKENIZER = flags.DEFINE_string(
    "video_tokenizer", None, "Weights of the video tokenizer. Default: the shipped one."
)
_AUDIO_TOKENIZER = flags.DEFINE_string(
    "audio_tokenizer", None, "Weights of the audio tokenizer. Default: the shipped one."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Clips encoded at once.", lower_bound=1)
_WORKERS = flags.DEFINE_integer(
    "workers",
    0,
    "playhouse: processes that draw scenes ahead; with an accelerator, as many as there are cores.",
    lower_bound=0,
)


def main(_: Sequence[str]) -> None:
    if not _OUTPUT.value:
        raise UserError("no --output; give the folder to write the latents to")
    named, output = SOURCES[_SOURCE.value], pathlib.Path(_OUTPUT.value)
    selection = Selection(
        _PATH.value or "",
        clip_format.clip_format(),
        _NUM_CLIPS.value,
        _SPLIT.value,
        _FAMILY.value,
        _STYLE.value,
        _BATCH_SIZE.value,
        _WORKERS.value,
        clip_format.FIT.value,
        references=True,
    )
    # Checked before videos are cut, which may take hours.
    refuse_others(output, named.identify(selection))
    video_tokenizer, video = weights.load_video_tokenizer(_VIDEO_TOKENIZER.value)
    audio_tokenizer, audio = weights.load_audio_tokenizer(_AUDIO_TOKENIZER.value)
    fingerprints = {"video_tokenizer": video.latents, "audio_tokenizer": audio.latents}
    source = named.open(selection, output.with_name(output.name + "_clips"))
    description = precompute(source, video_tokenizer, audio_tokenizer, output, fingerprints)
    print(f"{description['count']} clips in {output}")


if __name__ == "__main__":
    run_main(main)
