"""The TFDS set `playhouse`: takes of one family (scenes with exact motion, facts and captions).

Frames and samples are not stored. The reader renders them.

    python -m experiments.build_data --set=playhouse --num_train=20000 --data_dir=DIR

A record (about 3 kB; its pixels would be 800 kB) holds

    split, index, family   those of the take: draw(split, index, family=family) returns the same
    scene            the scene as JSON
    facts            the facts that its captions state, as JSON
    captions         texts that each state all facts
    intents          texts that state the attempted action, not its outcome; none without an outcome
    margin           float64 [2]: lower bounds of the distance (m) of the ball's path from one with
                     another outcome, and of the difference in speed (m/s) of the two launches;
                     float64 [0] without an outcome
    arcs             float64 [A,7]: the pieces of the motion of all balls, each with constant
                     acceleration: index of the ball, start time (s), x, y, v_x, v_y, a_y
    turns            float64 [A,4]: a_x, angle, spin and its rate for the rows of arcs; no rows if
                     all are zero
    shifts           float64 [P,7]: the pieces of the displacement of all shapes: index of the
                     shape, start time (s), x, y, v_x, v_y, a_x
    contacts         float64 [E,6]: time (s), kind (index in CONTACT_KINDS), index of the body that
                     touches, index of the body that is touched or -1, approach and rebound speed
    tracks           float64 [F,K,4]: x, y, v_x, v_y of each ball at the midpoints of the frames;
                     left out for families without balls, because TFDS cannot read an empty tensor
    views            float64 [F,3]: left, top and width of the camera's view at the midpoints of the
                     frames
    hidden           float64 [I,3]: index of the ball, start and end (s) of every interval in which
                     the whole ball is behind a panel

in metres, m/s, m/s^2, radians and rad/s. The files are array_record, read through `as_data_source`.
TensorFlow is imported neither to write nor to read them. Records are in the order of their index.
"""

import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from sora_jax.data.tfds_sets import make_builder, open_source, prepare
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.worlds.playhouse.camera import views
from sora_jax.worlds.playhouse.draw import Take, check, long_format
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.spec import WORLD_VERSION, Scene
from sora_jax.worlds.playhouse.takes import draw_takes
from sora_jax.worlds.playhouse.trajectory import Contact, Trajectory

CONTACT_KINDS = ("floor", "wall", "ball", "shape", "crate")
# Fields that records of older sets do not have.
NEWER = ("family", "intents", "margin", "turns", "shifts", "hidden")
NUM_TRAIN = 20_000  # training takes of a family that can draw any number of them


def to_record(take: Take, format: ClipFormat) -> dict:
    """Returns a take as a record of the set: the dict of the module docstring.

    `format` gives the times of the frames at which tracks and views are stored.
    """
    times, motion = format.frame_times(), take.trajectory
    facts: Any = take.facts
    record = {
        "split": take.split,
        "index": take.index,
        "family": take.family,
        "scene": take.scene.to_json(),
        "facts": json.dumps(facts.to_dict()),
        "captions": list(take.captions),
        "intents": list(take.intents),
        "margin": np.array(
            [] if take.margin is None else [take.margin, take.margin_speed], np.float64
        ),
        "arcs": np.concatenate(
            [np.insert(arcs, 0, k, axis=1) for k, arcs in enumerate(motion.arcs)]
            or [np.zeros((0, 7))]
        ),
        "turns": np.concatenate(motion.turns) if motion.turns else np.zeros((0, 4)),
        "shifts": np.concatenate(
            [np.insert(s, 0, k, axis=1) for k, s in enumerate(motion.shifts)] or [np.zeros((0, 7))]
        ),
        "contacts": np.array(
            [
                (c.time, CONTACT_KINDS.index(c.kind), c.a, c.b, c.speed, c.rebound)
                for c in motion.contacts
            ],
            np.float64,
        ).reshape(-1, 6),
        "views": views(take.scene, times),
        "hidden": np.array(take.hidden, np.float64).reshape(-1, 3),
    }
    if FAMILIES[take.family].max_balls:
        tracks = np.concatenate([motion.positions(times), motion.velocities(times)], axis=-1)
        record["tracks"] = tracks
    return record


def from_record(record: dict) -> Take:
    """Returns the take of a record, bitwise the one from which `to_record` made it.

    Raises:
        UserError: the record is from an older set and lacks some fields.
    """
    if missing := [name for name in NEWER if name not in record]:
        raise UserError(
            f"the set was built by an older version: its records lack {', '.join(missing)}; build "
            "it again with experiments.build_data"
        )
    arcs, scene, family = (
        record["arcs"],
        Scene.from_json(_text(record["scene"])),
        _text(record["family"]),
    )
    turns, shifts = record["turns"], record["shifts"]
    balls, shapes = range(len(scene.balls)), range(len(scene.shapes))
    motion = Trajectory(
        tuple(arcs[arcs[:, 0] == k, 1:] for k in balls),
        tuple(
            Contact(
                float(t), CONTACT_KINDS[int(kind)], int(a), int(b), float(speed), float(rebound)
            )
            for t, kind, a, b, speed, rebound in record["contacts"]
        ),
        tuple(turns[arcs[:, 0] == k] for k in balls) if len(turns) else (),
        tuple(shifts[shifts[:, 0] == k, 1:] for k in shapes) if len(shifts) else (),
    )
    facts = FAMILIES[family].facts_type.from_dict(json.loads(_text(record["facts"])))
    captions, intents = (tuple(_text(c) for c in record[name]) for name in ("captions", "intents"))
    margin, margin_speed = tuple(float(m) for m in record["margin"]) or (None, None)
    hidden = tuple((int(k), float(start), float(end)) for k, start, end in record["hidden"])
    return Take(
        _text(record["split"]),
        int(record["index"]),
        scene,
        motion,
        facts,
        captions,
        family,
        intents,
        margin,
        margin_speed,
        hidden,
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class PlayhouseConfig(tfds.core.BuilderConfig):
    """The configuration of a `playhouse` set, a TFDS data set of scenes.

    Args:
        num_train: takes in the split train. Default NUM_TRAIN.
        num_val: takes in every other split. Default 1,000.
        format: name of the clip format; tracks are stored at its frame times. Default "nano".
        workers: processes that draw takes. Default 0: this process draws them.
        family: the family (kind of scenes). Default "room".
        style: the only style of the scenes. Default: None, all styles of the family.

    Raises:
        UserError: the format, family or style does not exist.
    """

    def __init__(
        self,
        num_train: int = NUM_TRAIN,
        num_val: int = 1_000,
        format: str = "nano",
        workers: int = 0,
        family: str = "room",
        style: str | None = None,
    ):
        if format not in FORMATS:
            raise UserError(f"unknown format {format!r}; use one of {', '.join(FORMATS)}")
        check("train", family, style)
        super().__init__(
            name="_".join([family, *([style] if style else []), f"{format}_{num_train}_{num_val}"]),
            description=f"{family}: {num_train} + {num_val} takes, tracks for format {format}",
        )
        self.num_train, self.num_val, self.format, self.workers, self.family, self.style = (
            num_train,
            num_val,
            format,
            workers,
            family,
            style,
        )


def family_configs() -> list[PlayhouseConfig]:
    """Returns a configuration for every family in each of its formats.

    The split train has all takes of a family with a finite number of them, else NUM_TRAIN.
    """
    combinations = [(family, format) for family in FAMILIES.values() for format in family.formats]
    return [
        PlayhouseConfig(family.train_size or NUM_TRAIN, format=format, family=family.name)
        for family, format in combinations
    ]


class Playhouse(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder of a `playhouse` set: takes of one family."""

    name = "playhouse"
    # There are no downloads, so no checksums. Without this, TFDS 4.9.10 looks for them with a
    # package that it does not require.
    code_path = None
    VERSION = tfds.core.Version(f"{WORLD_VERSION}.0.0")
    BUILDER_CONFIGS: ClassVar = family_configs()

    @property
    def _config(self) -> PlayhouseConfig:
        if not isinstance(self.builder_config, PlayhouseConfig):
            raise UserError("the set has no PlayhouseConfig; give one", field="config")
        return self.builder_config

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "split": tfds.features.Text(),
            "index": tfds.features.Scalar(np.int64),
            "family": tfds.features.Text(),
            "scene": tfds.features.Text(),
            "facts": tfds.features.Text(),
            "captions": tfds.features.Sequence(tfds.features.Text()),
            "intents": tfds.features.Sequence(tfds.features.Text()),
            "margin": tfds.features.Tensor(shape=(None,), dtype=np.float64, encoding="bytes"),
            "turns": tfds.features.Tensor(shape=(None, 4), dtype=np.float64, encoding="bytes"),
            "shifts": tfds.features.Tensor(shape=(None, 7), dtype=np.float64, encoding="bytes"),
            "arcs": tfds.features.Tensor(shape=(None, 7), dtype=np.float64, encoding="bytes"),
            "contacts": tfds.features.Tensor(shape=(None, 6), dtype=np.float64, encoding="bytes"),
            "views": tfds.features.Tensor(shape=(None, 3), dtype=np.float64, encoding="bytes"),
            "hidden": tfds.features.Tensor(shape=(None, 3), dtype=np.float64, encoding="bytes"),
        }
        if FAMILIES[self._config.family].max_balls:
            features["tracks"] = tfds.features.Tensor(
                shape=(None, None, 4), dtype=np.float64, encoding="bytes"
            )
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(
                world_version=WORLD_VERSION, format=self._config.format
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config = self._config
        splits = [split for split in FAMILIES[config.family].splits if _has(split, config)]
        counts = {
            split: config.num_train if split == "train" else config.num_val for split in splits
        }
        return {
            split: self._generate_examples(split, count) for split, count in counts.items() if count
        }

    def _generate_examples(self, split: str, count: int) -> Iterator[tuple[int, dict]]:
        config = self._config
        clip = long_format(split, FORMATS[config.format])
        for take in draw_takes(split, range(count), config.workers, config.family, config.style):
            yield take.index, to_record(take, clip)


def _has(split: str, config: PlayhouseConfig) -> bool:
    """True if the family has takes of the style in the split."""
    try:
        check(split, config.family, config.style)
    except UserError:
        return False
    return True


def build(data_dir: str | os.PathLike, config: PlayhouseConfig) -> pathlib.Path:
    """Writes the `playhouse` set of a configuration below data_dir, unless it exists.

    Returns the directory of the set.

    Raises:
        UserError: the set cannot be written, or another process builds it.
    """
    builder = make_builder(Playhouse, data_dir, config)
    prepare(builder)
    return pathlib.Path(builder.data_path)


class Takes:
    """A sequence of the `Take`s of one split of a built set, each read on access.

    Args:
        source: the records of the split.
    """

    def __init__(self, source: Sequence[dict]):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Take:
        return from_record(self._source[int(index)])


def open_takes(directory: str | os.PathLike, split: str = "train") -> Takes:
    """Returns the takes of one split of a built `playhouse` set, a sequence that is read on access.

    Args:
        directory: the folder that holds dataset_info.json.
        split: name of the split. Default "train".

    Raises:
        UserError: the set or the split does not exist.
    """
    return Takes(open_source(directory, split, "playhouse"))
