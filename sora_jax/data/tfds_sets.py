"""Builds and opens sets of TensorFlow Datasets (TFDS) as array_record, without TensorFlow."""

import contextlib
import io
import os
import pathlib
from typing import Any, TypeVar

import tensorflow_datasets as tfds
from absl import logging

from sora_jax import files
from sora_jax.errors import UserError

Builder = TypeVar("Builder", bound=tfds.core.GeneratorBasedBuilder)


def make_builder(
    builder_class: type[Builder],
    data_dir: str | os.PathLike,
    config: tfds.core.BuilderConfig,
) -> Builder:
    """Returns a TFDS builder that writes a set as array_record below data_dir.

    The warnings of TFDS are silenced, because they concern conditions that are normal here.

    Args:
        builder_class: class of the builder.
        data_dir: folder of all sets; the builder adds NAME/CONFIG/VERSION.
        config: configuration of the set.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        return builder_class(data_dir=str(data_dir), config=config, file_format="array_record")
    finally:
        logging.set_verbosity(verbosity)


def prepare(builder: tfds.core.GeneratorBasedBuilder) -> None:
    """Writes the set of a TFDS builder, unless it exists.

    Raises:
        UserError: the set cannot be written, or another process builds it.
    """
    folder = pathlib.Path(builder.data_path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # TFDS prints messages about downloads, of which there are none.
        with files.locked(folder, "building"), contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except (OSError, RuntimeError) as error:
        disk = error if isinstance(error, OSError) else files.disk_error(error)
        if disk is None:
            raise
        raise files.cannot_write(builder.data_path, disk) from error


def open_source(directory: str | os.PathLike, split: str, name: str) -> Any:
    """Returns one split of a built set as a TFDS data source, a sequence of records.

    Args:
        directory: the folder of the set, which holds dataset_info.json.
        split: name of the split.
        name: name of the builder that must have made the set, such as "playhouse".

    Raises:
        UserError: the directory holds no set, a damaged or another set, or the set lacks the split.
    """
    directory = pathlib.Path(directory)
    info = directory / "dataset_info.json"
    if not info.is_file():
        raise UserError(
            f"no built set in {directory}; give the folder that experiments.build_data "
            "printed, with dataset_info.json in it"
        )
    try:
        builder: Any = tfds.builder_from_directory(str(directory))
    except Exception as error:  # TFDS raises many types for a damaged description
        raise UserError(
            f"the set in {directory} cannot be opened ({type(error).__name__}); delete the "
            "folder and build it again"
        ) from error
    if builder.name != name:
        raise UserError(
            f"{directory} holds the set {builder.name}, and {name} is needed; give another folder"
        )
    if split not in builder.info.splits:
        raise UserError(
            f"the set in {directory} has no split {split!r}; it has "
            f"{', '.join(builder.info.splits)}"
        )
    return builder.as_data_source(split)
