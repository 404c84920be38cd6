"""The latents that a run trains on: existing sets, or sets made in the run's directory."""

import dataclasses
import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grain

from sora_jax import weights
from sora_jax.data.latents import record
from sora_jax.data.latents.loader import batches
from sora_jax.data.latents.precompute import precompute, refuse_others
from sora_jax.data.mixture import mix
from sora_jax.data.named_sources import SOURCES, Selection
from sora_jax.errors import UserError
from sora_jax.modality import FITS
from sora_jax.models.text_encoder import PromptEncoder
from sora_jax.parallel import processes
from sora_jax.training.data_config import ModelDataConfig, SetConfig
from sora_jax.worlds.playhouse.families import FAMILIES

TOKENIZERS = {
    "video_tokenizer": weights.load_video_tokenizer,
    "audio_tokenizer": weights.load_audio_tokenizer,
}


def _made(one: SetConfig) -> bool:
    """True if the set's path is a folder of latents."""
    return bool(one.path) and (Path(one.path).expanduser() / record.DESCRIPTION).exists()


def identify(data: ModelDataConfig) -> dict[str, Any]:
    """Returns the identity of the data: entries that tell one data set from another, such as the
    source, the split and the fingerprints of the tokenizers. No data are made for it.

    The identity of a mixture is a dict {name of a set: its identity}. A run refuses to continue
    with data of another identity.

    Raises:
        UserError: the data do not exist.
    """
    known = {one.name: _identify(one) for one in data.mixture}
    return known if data.sets else next(iter(known.values()))


def _selection(one: SetConfig) -> Selection:
    return dataclasses.replace(one.selection(), references=True)


def _identify(one: SetConfig) -> dict[str, Any]:
    if _made(one):
        if one.fit != FITS[0]:
            raise UserError(
                f"fit={one.fit}, and {one.path} holds latents, whose frames are fitted already; "
                "leave it out, or give the folder of the videos as path",
                field="data.fit",
            )
        return record.identity(Path(one.path).expanduser())
    made_from = SOURCES[one.source].identify(_selection(one))
    fingerprints = {
        kind: weights.load_weights(weights.shipped(kind), kind).fingerprint for kind in TOKENIZERS
    }
    return made_from | {"tokenizers": fingerprints}


def latents_of(data: ModelDataConfig, workdir: Path) -> dict[str, Path]:
    """Returns {name of the set: folder of its latents}.

    If a set's path holds latents, it is that path. For any other set, clips are encoded into a
    folder of WORKDIR/data with the shipped tokenizers; a folder that is unfinished is completed.

    Args:
        data: the configuration of the data.
        workdir: the run's directory, WORKDIR.

    Raises:
        UserError: several processes train together and a path holds no latents, the sets were made
            by different tokenizers, or a folder in WORKDIR/data holds other latents.
    """
    folders = {
        one.name: _latents_of(one, workdir / "data" / (one.name if data.sets else ""), workdir)
        for one in data.mixture
    }
    made_by = {name: record.open_set(path)[1]["tokenizers"] for name, path in folders.items()}
    (first, expected), *rest = made_by.items()
    for name, tokenizers in rest:
        if tokenizers != expected:
            raise UserError(
                f"the latents of {name} were made by other tokenizers ({tokenizers}) than those of "
                f"{first} ({expected}); make them anew with experiments.precompute",
                field="data.sets",
            )
    return folders


def _latents_of(one: SetConfig, folder: Path, workdir: Path) -> Path:
    if _made(one):
        return Path(one.path).expanduser()
    if processes.several():
        raise UserError(
            "several processes train on latents that are there; make them with "
            "experiments.precompute, and give config.data.path"
        )
    refuse_others(folder, _identify(one))  # checked first: building the clips may take hours
    source = SOURCES[one.source].open(_selection(one), workdir / "clips")
    loaded = {kind: load() for kind, load in TOKENIZERS.items()}
    fingerprints = {kind: of.fingerprint for kind, (_, of) in loaded.items()}
    (video, _), (audio, _) = loaded.values()
    precompute(source, video, audio, folder, fingerprints)
    return folder


def validation_of(data: ModelDataConfig, workdir: Path, clips: int) -> dict[str, Path]:
    """Returns {name of a set: folder with latents of its held-out clips}.

    If a set is itself a folder of latents, its subfolder `val` holds them. For any other set, clips
    of the split val are encoded into WORKDIR/validation with the shipped tokenizers. A set without
    held-out clips is left out, and a note on stderr names it.

    Args:
        data: the configuration.
        workdir: the run's directory, WORKDIR.
        clips: number of held-out clips to draw, for a set that draws clips.
    """
    found = {}
    for one in data.mixture:
        try:
            found[one.name] = _held_out(one, workdir, clips)
        except UserError as error:
            if processes.is_first():
                print(f"note: {one.name} has no validation: {error}", file=sys.stderr)
    return found


def _held_out(one: SetConfig, workdir: Path, clips: int) -> Path:
    if one.split == "val":
        raise UserError("it trains on the split val itself")
    if not _made(one):
        held_out = dataclasses.replace(one, split="val", clips=clips)
        return _latents_of(held_out, workdir / "validation" / one.name, workdir)
    folder = Path(one.path).expanduser() / "val"
    if not (folder / record.DESCRIPTION).exists():
        raise UserError(
            f"no latents in {folder}; make them with experiments.precompute --split=val "
            f"--output={folder}"
        )
    return folder


def vocabulary(
    sets: Mapping[str, Mapping[str, Any]], text_length: int
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Returns (known words, {set: number of words of a padded prompt}).

    The known words are those of the sets' families of scenes together. If no set has a family, as
    with a user's videos alone, they are the words of the family `room`.

    Args:
        sets: the identity of each set by name (`identify`).
        text_length: words of a padded prompt for a set without a family.
    """
    families = {name: FAMILIES[one["family"]] for name, one in sets.items() if "family" in one}
    spoken = (family.words for family in families.values() or [FAMILIES["room"]])
    words = dict.fromkeys(itertools.chain.from_iterable(spoken))
    lengths = dict.fromkeys(sets, text_length)
    lengths.update((name, family.text_length) for name, family in families.items())
    return tuple(words), lengths


def captions_of(folders: Mapping[str, Path]) -> Iterator[str]:
    """Returns an iterator over the captions of all clips of the sets in folders of latents."""
    for folder in folders.values():
        records, description = record.open_set(folder)
        for i in range(description["count"]):
            packed: Any = records[i]  # Grain declares elements that may be None
            yield from record.unpack(packed)["captions"]


def open_mixture(
    data: ModelDataConfig,
    folders: Mapping[str, Path],
    sizes: Mapping[str, int],
    text_tokenizers: Mapping[str, PromptEncoder],
    seed: int,
    fingerprints: Mapping[str, str] | None = None,
    rows: Mapping[str, Sequence[int]] | None = None,
) -> grain.DatasetIterator:
    """Returns an iterator of {set: batch} over the latents of a run (`data.mixture.mix`).

    Args:
        data: the configuration.
        folders: the latents of each set (`latents_of`).
        sizes: clips of a batch of each set.
        text_tokenizers: the encoder of prompts of each set: captions -> tokens and mask.
        seed: the seed of the order of clips and of the choice among their captions.
        fingerprints: expected fingerprints of the video and audio tokenizers. Default: not checked.
        rows: indices of the rows of each batch to read, by set. Default: all.

    Raises:
        UserError: a set cannot be used.
    """
    sets = {
        one.name: batches(
            folders[one.name],
            text_tokenizers[one.name],
            sizes[one.name],
            seed,
            fingerprints=fingerprints,
            format=one.clip_format,
            rows=rows[one.name] if rows else None,
            skip_damaged=data.skip_damaged,
        )
        for one in data.mixture
    }
    return mix(sets, data.weights)


def held_out_batches(
    data: ModelDataConfig,
    folders: Mapping[str, Path],
    sizes: Mapping[str, int],
    text_tokenizers: Mapping[str, PromptEncoder],
    clips: int,
    fingerprints: Mapping[str, str],
    rows: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Returns the first batches of each set of held-out latents, {set: [batch, ...]}. They are the
    same at every call.

    Args:
        data: the configuration.
        folders: the held-out latents of each set (`validation_of`).
        sizes: clips of a batch of each set.
        text_tokenizers: the encoder of prompts of each set: captions -> tokens and mask.
        clips: clips of each set, rounded up to whole batches. A smaller set repeats its clips.
        fingerprints: fingerprints of the tokenizers of the training latents.
        rows: indices of the rows of each batch to read, by set. Default: all.

    Raises:
        UserError: a set cannot be used, or was made by other tokenizers.
    """
    found = {}
    for one in data.mixture:
        if one.name in folders:
            stream = batches(
                folders[one.name],
                text_tokenizers[one.name],
                sizes[one.name],
                seed=0,
                shuffle=False,
                fingerprints=fingerprints,
                format=one.clip_format,
                rows=rows[one.name] if rows else None,
            )
            found[one.name] = [stream[i] for i in range(math.ceil(clips / sizes[one.name]))]
    return found
