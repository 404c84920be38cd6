r"""Build a TFDS data set from Playhouse scenes, or from your own videos.

    python -m experiments.build_data --set=playhouse --num_train=20000 --num_val=1000 \
        --data_dir=data
    python -m experiments.build_data --family=film --style=anime --format=S --num_train=5000 \
        --data_dir=data
    python -m experiments.build_data --set=video_folder --path=~/my_videos --data_dir=data

`playhouse`, the synthetic world, stores scenes with their exact motion, facts and captions, 4 kB
each. Frames and samples are rendered when they are read. --family selects room (balls bounce),
court (throws, shots and jumps that succeed or fail), film (rooms in four styles with a moving
camera), occlude (a ball goes behind a panel), talk (characters speak), story (shots with a cast
that acts and speaks) or one of phyworld's. Each family has its own splits; --num_val applies to
all splits except train.

`video_folder` reads every video below --path (mp4, mov, m4v, webm, mkv, avi; any size, rate
and length, with or without audio) and cuts it into clips of one format. Frames are cropped to the
format's aspect ratio (or letterboxed with --fit=letterbox), resized, and resampled to its frame
rate; audio becomes mono at 16 kHz. The caption of ball.mp4 is a file beside it: ball.txt (one
paraphrase per line) or ball.json ({"caption": "..."}, or the JSON of experiments.sample).
Unreadable files are skipped, and listed at the end and in report.json.

The last printed line is the folder of the set. Next: python -m experiments.precompute.
"""

from collections.abc import Sequence

from absl import flags

from experiments import clip_format
from sora_jax.cli import run_main
from sora_jax.data import playhouse_set, video_folder
from sora_jax.errors import UserError
from sora_jax.worlds.playhouse.families import FAMILIES

flags.adopt_module_key_flags(clip_format)

_SET = flags.DEFINE_enum("set", "playhouse", ["playhouse", "video_folder"], "Data set to build.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Parent folder of all data sets.")
_NUM_TRAIN = flags.DEFINE_integer("num_train", 20_000, "playhouse: scenes in train.", lower_bound=0)
_NUM_VAL = flags.DEFINE_integer(
    "num_val",
    1_000,
    "playhouse: scenes in val, whose combinations of facts train never holds, and in each further "
    "split of the family.",
    lower_bound=0,
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
_WORKERS = flags.DEFINE_integer(
    "workers",
    0,
    "playhouse: processes that draw scenes; 0 draws in this one, some 80 scenes a second.",
    lower_bound=0,
)
_PATH = flags.DEFINE_string(
    "path",
    None,
    "video_folder: the directory that holds your videos, read with everything below it.",
)
_CLIPS_PER_FILE = flags.DEFINE_integer(
    "clips_per_file",
    16,
    "video_folder: maximum number of consecutive clips of one file.",
    lower_bound=1,
)


def main(_: Sequence[str]) -> None:
    if _SET.value == "playhouse":
        if not _NUM_TRAIN.value + _NUM_VAL.value:
            raise UserError(
                "nothing to build: --num_train and --num_val are both 0; ask for some scenes"
            )
        if clip_format.changed():
            raise UserError(
                "--height, --width, --fps, --seconds and --fit are for --set=video_folder: a set "
                "of Playhouse holds scenes, and experiments.precompute renders them in any format"
            )
        directory = playhouse_set.build(
            _DATA_DIR.value,
            playhouse_set.PlayhouseConfig(
                _NUM_TRAIN.value,
                _NUM_VAL.value,
                clip_format.FORMAT.value,
                _WORKERS.value,
                _FAMILY.value,
                _STYLE.value,
            ),
        )
    else:
        if not _PATH.value:
            raise UserError(
                "--set=video_folder needs --path; give the directory that holds your videos"
            )
        config = video_folder.VideoFolderConfig(
            _PATH.value,
            clip_format.clip_format(),
            _CLIPS_PER_FILE.value,
            clip_format.FIT.value,
        )
        directory, report = video_folder.build(_DATA_DIR.value, config)
        print(video_folder.summary(report))
    print(directory)


if __name__ == "__main__":
    run_main(main)
