r"""Generate video clips with audio, from text, a storyboard, a first frame, video, audio or clips.

Each prompt gives an mp4 (h264 + aac), a contact sheet (frames over waveform and spectrogram,
with the visible and audible impacts marked), and a JSON file. The JSON records how the clip was
made, what the oracles (programs that measure clips) read in it, and for each fact of the prompt
whether the clip shows it. A --given_video, of at most 600 s, comes back whole: its frames are
copied without re-encoding, and its audio is replaced by the generated one, in the container that
it had (mp4, mov, mkv, webm; else mkv). The shipped weights know Playhouse, a synthetic world: one
to three balls, each with a size (small, large), a colour (red, orange, yellow, green, blue,
purple), a launch (dropped, thrown or rolled, to the left or right) and a number of bounces.

Examples:

  python -m experiments.sample --prompt="a large red ball is thrown to the left and bounces twice"
  python -m experiments.sample --prompt="a small blue ball is dropped and bounces once" \
      --num_samples=4 --seed=7 --guidance=3
  python -m experiments.sample --prompts_file=prompts.txt --output_dir=outputs/many  # one a line
  python -m experiments.sample --prompts_file=prompts.txt --num_samples=100 --batch=4
  python -m experiments.sample --prompt="a large green ball rolls to the right without bouncing" \
      --first_frame=start.png
  python -m experiments.sample --given_video=silent.mp4                       # generate the audio
  python -m experiments.sample --given_audio=impacts.wav \
      --prompt="a small red ball is dropped and bounces twice"
  python -m experiments.sample \
      --continue_clip=outputs/samples/000-a-large-red-ball-is-thrown-seed0.mp4 --seconds=4 \
      --prompt="a large red ball is thrown to the left and bounces twice"
  python -m experiments.sample --extend_backward=clip.mp4 --seconds=2 \
      --prompt="a large red ball is dropped and bounces twice"                # what came before
  python -m experiments.sample --in_between=a.mp4,b.mp4 --seconds=1 \
      --prompt="a large red ball is dropped and bounces twice"                # from a to b
  python -m experiments.sample --prompt="a large red ball is dropped and bounces twice" --loop
  python -m experiments.sample --remix=clip.mp4 --strength=0.6 \
      --prompt="a large blue ball is dropped and bounces twice"
  python -m experiments.sample --storyboard=story.txt --weights=stories.safetensors
  python -m experiments.sample --edit=story.mp4 --edit_shot=2 --storyboard=story.txt \
      --weights=stories.safetensors

If a given clip has latents stored beside its mp4 (.latents.npz) that fit the model, those are used,
so nothing is encoded twice. Except in a remix, frames of a given clip stay as they are, and so do
its samples, except for a cross-fade of 20 ms. A storyboard states the facts of a clip shot by shot,
as cards or as prose; docs/guides/world.md shows both. This command replaces no file: if a name
exists, the new file gets a number. (`clip.save` of Python replaces the files at its path.)
"""

import contextlib
import dataclasses
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags

from experiments import generation
from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.files import check_input, check_output
from sora_jax.pipelines.storyboards import parse_storyboard
from sora_jax.progress import Progress

flags.adopt_module_key_flags(generation)

_PROMPT = flags.DEFINE_string("prompt", None, "Description of the clip.")
_PROMPTS_FILE = flags.DEFINE_string(
    "prompts_file", None, "Text file with one prompt per line; empty lines are skipped."
)
_STORYBOARD = flags.DEFINE_string(
    "storyboard",
    None,
    "Text file with one storyboard, as cards or as prose, instead of --prompt. It chooses the "
    "format with its shots, for weights that learned shots.",
)
_NEGATIVE = flags.DEFINE_string(
    "negative_prompt",
    "",
    "Description to guide away from; needs --guidance above 1.",
)
_ANY_WORDS = flags.DEFINE_boolean(
    "any_words", False, "Take a prompt without a word that the model learned."
)
_BATCH = flags.DEFINE_integer(
    "batch",
    1,
    "Clips generated at a time, of any prompts and seeds, spread over all devices; continued "
    "clips and films go one by one. On a 2-core CPU 4 are 1.1 times as fast as 1, and more gain "
    "no further. On accelerators give a multiple of their number, as large as fits in memory.",
    lower_bound=1,
)
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 1, "Clips for each prompt.", lower_bound=1)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "outputs/samples", "Output folder.")
_FIRST_FRAME = flags.DEFINE_string("first_frame", None, "Image (png, jpeg) of the first frame.")
_GIVEN_VIDEO = flags.DEFINE_string(
    "given_video",
    None,
    "Video file, up to 600 s, to generate audio for; the result is that file with the new audio.",
)
_GIVEN_AUDIO = flags.DEFINE_string(
    "given_audio", None, "Audio file (wav, mp3, mp4 ...); the model generates its video."
)
_CHARACTER = flags.DEFINE_multi_string(
    "character",
    [],
    "@NAME=FOLDER: a character that the prompt names, for weights that learned references. The "
    "folder has front.png, left.png, right.png and blink.png, and voice.wav if it speaks.",
)
_CONTINUE = flags.DEFINE_string(
    "continue_clip", None, "Clip (mp4) to extend; --prompt describes the new part."
)
_BACKWARD = flags.DEFINE_string(
    "extend_backward", None, "Clip (mp4) to extend backward; --prompt describes the new part."
)
_BETWEEN = flags.DEFINE_list(
    "in_between", None, "Two clips (mp4), as A.mp4,B.mp4, to join by a new part of --seconds."
)
_LOOP = flags.DEFINE_boolean(
    "loop", False, "Add --seconds that lead from the clip's end back to its beginning."
)
_REMIX = flags.DEFINE_string("remix", None, "Clip (mp4) to change as --prompt says.")
_STRENGTH = flags.DEFINE_float(
    "strength",
    None,
    "How much --remix changes: near 0 little, 1 everything; 0 is refused. Default: 0.6.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_EDIT = flags.DEFINE_string(
    "edit", None, "Clip (mp4) of several shots, one of which is made anew; the others stay."
)
_EDIT_SHOT = flags.DEFINE_integer("edit_shot", None, "Number of that shot, from 1.", lower_bound=1)
_SECONDS = flags.DEFINE_float(
    "seconds",
    None,
    "Duration of the clip, or of what is added to clips or by --loop, in whole latents. Default: "
    "that of the format; 2 to add.",
)
_SIZE = flags.DEFINE_string(
    "size",
    None,
    "Width x height of the clip in pixels, such as 96x64: of a format that the weights were "
    "trained on. Default: their first; that of a given clip if they make it.",
)
_FPS = flags.DEFINE_float(
    "fps",
    None,
    "Frames per second, of a format that the weights were trained on. Default: as for --size.",
)


# Fields of `Request` whose flags have other names, for messages.
FLAGS = {
    "continued": "continue_clip",
    "preceded": "extend_backward",
    "between": "in_between",
    "remixed": "remix",
    "edited": "edit",
}


def given_paths() -> dict[str, str | list[str]]:
    """Returns {field of `Request`: path, or list of paths} of the files that the flags give."""
    flags_by_field = {
        "first_frame": _FIRST_FRAME,
        "given_video": _GIVEN_VIDEO,
        "given_audio": _GIVEN_AUDIO,
        "continued": _CONTINUE,
        "preceded": _BACKWARD,
        "between": _BETWEEN,
        "remixed": _REMIX,
        "edited": _EDIT,
    }
    return {name: flag.value for name, flag in flags_by_field.items() if flag.value is not None}


def read_settings() -> dict[str, float | int | bool]:
    """Returns {field of `Request`: value} of the other settings that the flags give."""
    settings = {"strength": _STRENGTH.value, "edit_shot": _EDIT_SHOT.value}
    if _LOOP.value or given_paths().keys() & {"continued", "preceded", "between"}:
        settings["seconds"] = _SECONDS.value
    settings |= {"loop": _LOOP.value, "any_words": _ANY_WORDS.value}
    return {name: value for name, value in settings.items() if value is not None}


def read_prompts() -> dict[str, str | None]:
    """Returns the prompts that the flags give: {place in a file, such as "a.txt, line 2": prompt}.

    Without a file it is {"": prompt}. The prompt is None if none is given and an image, video,
    audio or clip suffices.

    Raises:
        UserError: there is nothing to generate from, several of the flags are given, or a file
            cannot be read.
    """
    texts = {flag.name: flag.value for flag in (_PROMPT, _PROMPTS_FILE, _STORYBOARD)}
    if len(given := [f"--{name}" for name, value in texts.items() if value is not None]) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other; give one of them")
    if _STORYBOARD.value is not None:
        check_input("storyboard", _STORYBOARD.value, "a text file with one storyboard")
        lines = files.numbered_lines(_STORYBOARD.value, "storyboard")
        text = " ".join(line for _, line in lines)
        with located(_STORYBOARD.value):
            parse_storyboard(text)
        return {_STORYBOARD.value: text}
    if _PROMPTS_FILE.value is not None:
        check_input("prompts_file", _PROMPTS_FILE.value, "a text file with one prompt to a line")
        lines = files.numbered_lines(_PROMPTS_FILE.value, "prompt")
        return {f"{_PROMPTS_FILE.value}, line {number}": line for number, line in lines}
    if _PROMPT.value is not None and not _PROMPT.value.strip():
        raise UserError(
            '--prompt is empty; describe the clip, such as --prompt="a small red ball is '
            'dropped and bounces twice"'
        )
    if _PROMPT.value is None and not given_paths():
        raise UserError(
            'nothing to generate; give --prompt="a large red ball is dropped and bounces twice", '
            "or see --help"
        )
    return {"": _PROMPT.value}


def read_format() -> dict[str, float]:
    """Returns what the flags state of "width", "height" (pixels), "fps" and "seconds" of the clip.
    Raises UserError if --size cannot be read.
    """
    asked: dict[str, float] = {}
    if _SIZE.value is not None:
        sides = re.fullmatch(r"(\d+) ?[x\u00d7] ?(\d+)", _SIZE.value)
        if not sides:
            raise UserError(f"--size={_SIZE.value}; give width x height in pixels, such as 96x64")
        asked = {"width": int(sides[1]), "height": int(sides[2])}
    if _FPS.value is not None:
        asked["fps"] = _FPS.value
    if _SECONDS.value is not None and "seconds" not in read_settings():
        asked["seconds"] = _SECONDS.value
    return asked


def check_paths() -> Path:
    """Returns the output folder, after checking all paths.

    Raises:
        UserError: a path cannot be read or written. It is raised before anything is loaded or
            compiled.
    """
    check_input("first_frame", _FIRST_FRAME.value, "a png or jpeg file")
    check_input("given_video", _GIVEN_VIDEO.value, "a video file")
    check_input("given_audio", _GIVEN_AUDIO.value, "a file with an audio track")
    clips = [(f.name, f.value) for f in (_CONTINUE, _BACKWARD, _REMIX, _EDIT)]
    clips += [("in_between", clip) for clip in _BETWEEN.value or ()]
    if _BETWEEN.value is not None and len(_BETWEEN.value) != 2:
        raise UserError("--in_between needs two clips, as --in_between=A.mp4,B.mp4")
    for name, clip in clips:
        check_input(name, clip, "an mp4, such as one that this command made")
    generation.check_weights()
    return check_output("output_dir", _OUTPUT_DIR.value)


def read_characters() -> dict[str, str]:
    """Returns {name: folder} of the --character flags. Raises UserError if one cannot be read, or
    a name is given twice.
    """
    found: dict[str, str] = {}
    for given in _CHARACTER.value:
        match = re.fullmatch(r"@(\w+)=(.+)", given)
        if not match or match[1] in found:
            raise UserError(f"--character={given}; give each once, as @mika=FOLDER")
        found[match[1]] = match[2]
    return found


@contextlib.contextmanager
def in_flags() -> Iterator[None]:
    """Context manager: names flags in place of fields of `Request` in a UserError."""
    try:
        yield
    except UserError as error:
        fields = re.compile(rf"\b({'|'.join(FLAGS)})\b")
        text = fields.sub(lambda field: f"--{FLAGS[field[1]]}", str(error))
        field = FLAGS.get(error.field or "", error.field)
        raise UserError(text, code=error.code, field=field) from error


@contextlib.contextmanager
def located(place: str) -> Iterator[None]:
    """Context manager: puts `place` before the text of a UserError about the prompt, unless it is
    empty.
    """
    try:
        yield
    except UserError as error:
        if not place or error.field != "prompt":
            raise
        raise UserError(f"{place}: {error}", code=error.code) from None  # not --prompt


@in_flags()
def main(_: Sequence[str]) -> None:
    places, format, folder = read_prompts(), read_format(), check_paths()
    characters = read_characters()
    # Imported after the flags are checked, so that a wrong flag is reported before JAX loads.
    from sora_jax.pipelines import given, record
    from sora_jax.pipelines.request import SOURCES, WHOLE, Request

    sampler, first = generation.sampler(), generation.SEED.value
    pipeline, paths = generation.load().in_format(**format), given_paths()
    for name in paths.keys() & set(SOURCES):
        clips = paths[name]
        first_clip = clips[0] if isinstance(clips, list) else clips
        pipeline = pipeline.in_format_of(first_clip, whole=name in WHOLE)
    if _STORYBOARD.value is not None:
        pipeline = pipeline.in_format_of_prompt(str(places[_STORYBOARD.value]))
    named = paths | ({"characters": characters} if characters else {})
    fields, notes = given.read_given(pipeline, named)
    fields |= read_settings()
    places, prompts, count = list(places), list(places.values()), _NUM_SAMPLES.value

    def request_of(number: int) -> Request:
        index, sample = divmod(number, count)
        return Request(prompts[index], _NEGATIVE.value, first + sample, sampler, **fields)

    messages = dict.fromkeys(notes)
    for index, place in enumerate(places):
        with located(place):
            for sample in (0, count - 1):  # those between differ in nothing that is checked
                pipeline.check(request_of(index * count + sample))
        remarks = pipeline.notes(request_of(index * count))
        about = f"{place}: " if place else ""
        messages |= {about * note.startswith("the prompt") + note: None for note in remarks}
    for note in messages:
        print(f"note: {note}", file=sys.stderr)
    progress, total = Progress(), len(prompts) * count
    size = 1 if pipeline.is_windowed(request_of(0)) else min(_BATCH.value, total)
    # Made batch by batch: there may be more clips than fit into memory as requests.
    for start in range(0, total, size):
        numbers = range(start, min(start + size, total))
        requests = [request_of(number) for number in numbers]
        label = f"clip {start + 1}" + f" to {numbers[-1] + 1}" * (len(numbers) > 1)
        started = time.perf_counter()
        with progress.job(f"{label} of {total}") as show:
            clips = pipeline.generate_batch(requests, show, size)
        made = f"made in {time.perf_counter() - started:.2f} s"
        made += f" with {len(clips) - 1} more" * (len(clips) > 1)
        for number, request, clip in zip(numbers, requests, clips, strict=True):
            clip = dataclasses.replace(clip, notes=(*notes, *clip.notes))
            place = (folder, number // count, clip.title, request.seed, clip.suffix)
            with record.free_path(*place) as path:
                clip.save(path)
            print(f"{path}: {clip.seconds:.3g} s, {made}, {clip.title}")
            print(f"  {record.facts_table(clip.verdict)}")
            if read := record.say_reading(clip):
                print(f"  oracles read: {read}")


if __name__ == "__main__":
    run_main(main)
