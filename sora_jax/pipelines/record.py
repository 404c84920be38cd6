"""Writes a generated clip: mp4, contact sheet, JSON report and latents.

NAME.mp4           h264 and aac, with the provenance in its comment; for a given video file, a copy
                   of its picture with the new audio (`media.remux`), with the suffix of the film
NAME.png           frames over waveform and spectrogram, with the impacts seen and heard
NAME.json          provenance, timings, notes, the verdict (whether the clip shows what its prompt
                   asks), and the readings of the oracles (programs that measure a clip)
NAME.latents.npz   latents and decoder cache, from which the clip can be continued (`sidecar`);
                   not for a given video of any length, which must be encoded to be continued
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sora_jax import files, mp4
from sora_jax.contact_sheet import contact_sheet
from sora_jax.errors import UserError
from sora_jax.media import remux
from sora_jax.oracles.read_clip import has_balls
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.verdict import judge_prompt, parse_prompt, say_balls, say_impacts
from sora_jax.pipelines import sidecar
from sora_jax.tables import plain
from sora_jax.worlds.playhouse.captions import CaptionError
from sora_jax.worlds.playhouse.families import FAMILIES

if TYPE_CHECKING:
    from sora_jax.pipelines.generated import Generated

SUFFIXES = (*remux.SUFFIXES, ".png", ".json", ".latents.npz")
PARTS = {"continued", "preceded", "between", "loop"}  # whose prompts describe a part of the clip
TITLE_BYTES = 100  # largest size of the title in a clip's name; longer ones are shortened


@contextlib.contextmanager
def free_path(
    folder: Path, index: int, title: str, seed: int, suffix: str = ".mp4"
) -> Iterator[Path]:
    """Context manager: claims a free path of a clip, such as 000-first-words-seed0.mp4.

    A path is free if none of the files of a clip exists for it, with any of SUFFIXES, and no other
    process has claimed it. The claim, an empty hidden file, ends with the context.

    Args:
        folder: the folder of the clip.
        index: number of the clip, the first part of its name.
        title: text whose first six words are the second part.
        seed: seed of the clip, the last part. A taken name gets -2, -3 and so on.
        suffix: suffix of the path. Default ".mp4".

    Raises:
        UserError: ten thousand paths are taken, or the folder cannot be written.
    """
    words = files.shortened("-".join(re.findall(r"[a-z0-9]+", title.lower())[:6]), TITLE_BYTES)
    name = "-".join([f"{index:03d}", *filter(None, [words]), f"seed{seed}"])
    for number in range(1, 10_000):
        path = folder / (f"{name}{suffix}" if number == 1 else f"{name}-{number}{suffix}")
        claim = path.with_name(f".{path.stem}.claim")
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        except OSError as error:
            raise files.cannot_write(folder, error) from None
        try:
            # Looked at after the claim: before it, another process might still be writing.
            if not any(os.path.lexists(path.with_suffix(suffix)) for suffix in SUFFIXES):
                yield path
                return
        finally:
            claim.unlink(missing_ok=True)
    raise UserError(f"{folder} is full of clips named {name}; choose another folder")


def family_of(provenance: dict[str, Any]) -> str | None:
    """Returns the family of scenes that a clip's prompt describes, by the clip's provenance; None
    if it is unknown.
    """
    families = [name for name in provenance.get("families", ()) if name in FAMILIES]
    if PARTS & set(provenance.get("task", "").split(" and ")):
        return None
    try:
        return parse_prompt(provenance.get("prompt", ""), families)[0]
    except CaptionError:
        return None


def judge(clip: "Generated", reading: Reading) -> dict[str, Any]:
    """Returns whether the clip shows what its prompt asks, as JSON values.

    Args:
        clip: the clip, with its prompt in `provenance`.
        reading: the oracles' reading of that clip.

    Returns:
        {"met": True or False, "facts": one dictionary for each fact, "family": the kind of scenes
        that could parse the prompt}, of `oracles.verdict.Verdict.to_dict`. If the oracles cannot
        decide, {"met": None, "reason": text, ...}. So it is for a clip of which the prompt
        describes only a part.
    """
    provenance = clip.provenance
    if PARTS & set(provenance.get("task", "").split(" and ")):
        reason = (
            "the prompt describes only what was added to a clip"
            if provenance.get("prompt")
            else "there is none"
        )
        return {"met": None, "reason": reason}
    return judge_prompt(
        provenance.get("prompt", ""), reading, provenance.get("families", ())
    ).to_dict()


def write(
    path: str | os.PathLike,
    clip: "Generated",
    write_video: Callable[[Path, "Generated", dict[str, Any]], object] = mp4.write_mp4,
) -> dict[str, Any]:
    """Writes a clip's files and returns the contents of its JSON report.

    Args:
        path: path of the video file, which ends in `clip.suffix`; the other files share its name.
        clip: a `generated.Generated`.
        write_video: function of (path, clip, provenance) that writes the mp4. It is not called for
            a given video file, which is copied. Default: `mp4.write_mp4`.

    Raises:
        UserError: the path has another suffix, or the files cannot be written.
    """
    path = files.user_path(path)
    if path.suffix != clip.suffix:
        raise UserError(
            f"{path} is not the path of this clip; give a path that ends in {clip.suffix}"
        )
    provenance, started = clip.provenance, time.perf_counter()
    reading = clip.reading
    report = {
        "prompt": provenance.get("prompt", ""),
        "seed": provenance.get("seed"),
        **{name: provenance.get(name) for name in ("model", "video_tokenizer", "audio_tokenizer")},
        "settings": {name: provenance.get(name) for name in ("task", "negative_prompt", "sampler")},
        "frames": len(clip.frames),
        "fps": clip.format.to_dict()["fps"],
        "seconds": clip.seconds,
        "timings": dict(clip.timings),
        "notes": list(clip.notes),
        "verdict": clip.verdict,
        "oracles": reading.to_dict(has_balls(clip.family)),
    }
    read = time.perf_counter()
    if clip.film is None:
        sidecar.save(path.with_suffix(".latents.npz"), clip)
        write_video(path, clip, provenance | {"latents": sidecar.digest(clip.latents)})
    elif clip.film.path is None or clip.samples is None:
        write_video(path, clip, provenance)
    else:
        remux.write(path, clip.film.path, clip.samples, provenance)
    draw_sheet(path.with_suffix(".png"), clip)
    report["timings"] |= {
        "oracles": round(read - started, 4),
        "write": round(time.perf_counter() - read, 4),
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    files.write(path.with_suffix(".json"), text + "\n")
    return report


def draw_sheet(path: Path, clip: "Generated") -> None:
    """Draws the contact sheet of a clip, a png file, with the impacts if its kind has balls."""
    impacts = ()
    if has_balls(clip.family):
        impacts = clip.reading.seen_impacts, clip.reading.heard_impacts
    contact_sheet(path, clip, clip.title, *impacts)


def say_reading(clip: "Generated") -> str:
    """Returns a line of text on the balls and impacts of a clip; "" if its kind has none."""
    if not has_balls(clip.family):
        return ""
    return f"{say_balls(clip.reading)}; {say_impacts(clip.reading)}"


def facts_table(verdict: dict[str, Any]) -> str:
    """Formats the result of `judge` as text: one line per fact, with columns asked, seen and
    met.
    """
    if verdict["met"] is None:
        return f"prompt not judged: {verdict['reason']}"
    rows = [
        (_fact_name(line), _word(line["asked"]), _word(line["seen"]), _met(line))
        for line in verdict["facts"]
    ]
    read = [line["met"] for line in verdict["facts"] if line["met"] is not None]
    head = f"prompt {'met' if verdict['met'] else 'not met'}: {sum(read)} of {len(read)} facts"
    table = plain(("", "asked", "seen", "met"), rows)
    return "\n    ".join([head, *table.splitlines()])


def _fact_name(line: dict[str, Any]) -> str:
    if line["ball"] is None:
        return line["fact"]
    return f"{line['ball']} ball" if line["fact"] == "colour" else f"  {line['fact']}"


def _met(line: dict[str, Any]) -> str:
    if line["met"] is None:
        return f"not read: {line['reason']}" if line["reason"] else "not read"
    return _word(line["met"])


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
