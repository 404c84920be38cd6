r"""Make video clips with sound from text, a picture, a silent clip, a sound, or a clip to be
continued.

A prompt becomes an mp4 (h264 + aac), a contact sheet (frames over waveform and spectrogram, with
the impacts seen and heard), and a JSON that says what made the clip, what the oracles read in it
and whether that is what was asked, fact by fact. The shipped weights know the world of Playhouse:
one to three balls, each with a size (small, large), a colour (red, orange, yellow, green, blue,
purple), a launch (dropped, thrown or rolled, to the left or right) and a number of bounces.

Examples:

  python -m experiments.sample --prompt="a large red ball is thrown to the left and bounces twice"
  python -m experiments.sample --prompt="a small blue ball is dropped and bounces once" \
      --num_samples=4 --seed=7 --guidance=3
  python -m experiments.sample --prompts_file=prompts.txt --output_dir=outputs/many  # one a line
  python -m experiments.sample --prompt="a large green ball rolls to the right without bouncing" \
      --first_frame=start.png
  python -m experiments.sample --given_video=silent.mp4                       # make the sound
  python -m experiments.sample --given_audio=impacts.wav \
      --prompt="a small red ball is dropped and bounces twice"
  python -m experiments.sample \
      --continue_clip=outputs/samples/000-a-large-red-ball-is-thrown-seed0.mp4 --seconds=4

A continued clip starts from the latents kept beside the mp4 (.latents.npz) if they fit, so nothing
is encoded twice. No file is ever overwritten: a name that is taken gets a number.
"""

import json
import re
import sys
import time
from pathlib import Path

from absl import flags

from experiments import generation
from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.files import check_input, check_output

flags.adopt_module_key_flags(generation)

_PROMPT = flags.DEFINE_string("prompt", None, "What the clip shows.")
_PROMPTS_FILE = flags.DEFINE_string(
    "prompts_file", None, "A text file with one prompt to a line; empty lines are skipped."
)
_NEGATIVE = flags.DEFINE_string(
    "negative_prompt", "", "What to steer away from; needs --guidance above 1."
)
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 1, "Clips for each prompt.", lower_bound=1)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "outputs/samples", "Where the files go.")
_FIRST_FRAME = flags.DEFINE_string(
    "first_frame", None, "A picture (png, jpeg) the clip begins with."
)
_GIVEN_VIDEO = flags.DEFINE_string("given_video", None, "A video to make the sound for.")
_GIVEN_AUDIO = flags.DEFINE_string(
    "given_audio", None, "A sound (wav, mp3, mp4 ...) to make the picture for."
)
_CONTINUE = flags.DEFINE_string(
    "continue_clip", None, "A clip (mp4) to make longer; --prompt may say what the new part shows."
)
_SECONDS = flags.DEFINE_float(
    "seconds", None, "How much --continue_clip adds, in whole latents (nano: 0.5 s). Default: 2."
)


def read_prompts() -> list[str | None]:
    """The prompts that the flags ask for; [None] where a picture, sound or clip is enough.

    Raises UserError.
    """
    given = any(
        flag.value is not None for flag in (_FIRST_FRAME, _GIVEN_VIDEO, _GIVEN_AUDIO, _CONTINUE)
    )
    if _SECONDS.value is not None and _CONTINUE.value is None:
        raise UserError(
            "--seconds says how much --continue_clip adds; give --continue_clip=FILE.mp4 too"
        )
    if _PROMPT.value is not None and _PROMPTS_FILE.value is not None:
        raise UserError("--prompt and --prompts_file are both given; give one of them")
    if _PROMPTS_FILE.value is not None:
        check_input("prompts_file", _PROMPTS_FILE.value, "a text file with one prompt to a line")
        try:
            lines = Path(_PROMPTS_FILE.value).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise UserError(
                f"--prompts_file={_PROMPTS_FILE.value} is not text; give a text file with one "
                "prompt to a line"
            ) from None
        prompts = [line.strip() for line in lines if line.strip()]
        if not prompts:
            raise UserError(
                f"--prompts_file={_PROMPTS_FILE.value} holds no prompt; write one to a line"
            )
        return prompts
    if _PROMPT.value is not None and not _PROMPT.value.strip():
        raise UserError(
            '--prompt is empty; describe the clip, such as --prompt="a small red ball is '
            'dropped and bounces twice"'
        )
    if _PROMPT.value is None and not given:
        raise UserError(
            'nothing to make; give --prompt="a large red ball is dropped and bounces twice", '
            "or see --help"
        )
    return [_PROMPT.value]


def check_paths() -> Path:
    """The output folder.

    Raises UserError for a path that cannot be read or written, before anything is loaded or
    compiled.
    """
    check_input("first_frame", _FIRST_FRAME.value, "a png or jpeg file")
    check_input("given_video", _GIVEN_VIDEO.value, "a video file")
    check_input("given_audio", _GIVEN_AUDIO.value, "a file with a sound track")
    check_input("continue_clip", _CONTINUE.value, "an mp4, such as one that this command made")
    generation.check_weights()
    return check_output("output_dir", _OUTPUT_DIR.value)


def read_conditions(pipeline) -> tuple[dict, list[str]]:
    """What the flags give beside the text, as fields of `Request`, and notes on how files were
    fitted. Raises UserError.
    """
    from sora_jax import media
    from sora_jax.pipelines import sidecar

    fields, notes = {}, []
    form = pipeline.format
    if _FIRST_FRAME.value is not None:
        fields["first_frame"], changes = media.read_image(_FIRST_FRAME.value, form.size)
        notes += [f"{_FIRST_FRAME.value}: {change}" for change in changes]
    if _GIVEN_VIDEO.value is not None:
        clip = media.fit_clip(media.read_video(_GIVEN_VIDEO.value, seconds=form.seconds + 1), form)
        fields["given_video"] = clip.frames
        notes += [
            f"{_GIVEN_VIDEO.value}: {change}" for change in clip.notes if "sound" not in change
        ]
    if _GIVEN_AUDIO.value is not None:
        fields["given_audio"], changes = media.fit_sound(
            *media.read_sound(_GIVEN_AUDIO.value), form.samples
        )
        notes += [f"{_GIVEN_AUDIO.value}: {change}" for change in changes]
    if _CONTINUE.value is not None:
        fields["continued"] = sidecar.open_clip(_CONTINUE.value, pipeline)
        fields["seconds"] = 2.0 if _SECONDS.value is None else _SECONDS.value
        notes += fields["continued"].notes
    return fields, notes


def free_stem(folder: Path, index: int, prompt: str, seed: int) -> Path:
    """A name without suffix that no file of ours has yet."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())[:6]
    name = "-".join([f"{index:03d}", *words, f"seed{seed}"])
    for number in range(1, 10_000):
        stem = folder / (name if number == 1 else f"{name}-{number}")
        if not any(
            stem.with_name(stem.name + suffix).exists()
            for suffix in (".mp4", ".png", ".json", ".latents.npz")
        ):
            return stem
    raise UserError(f"{folder} is full of clips named {name}; choose another --output_dir")


def judge(clip, reading, family: str | None = None) -> dict:
    """Whether the clip shows what its prompt asks, for JSON (`oracles.verdict.Verdict.to_dict`).

    family: the one that the model was trained on.
    """
    from sora_jax.oracles.verdict import judge_prompt

    if "continued_from" in clip.provenance:
        return {
            "met": None,
            "reason": "a clip made longer is read as a whole, and its prompt speaks of the "
            "new part",
        }
    return judge_prompt(clip.provenance["prompt"], reading, family).to_dict()


def write(stem: Path, clip, notes, family: str | None = None) -> tuple:
    """Write a clip's four files; returns what its JSON says and the `Reading` of the clip.

    family: the one that the model was trained on.
    """
    from sora_jax import media
    from sora_jax.contact_sheet import contact_sheet
    from sora_jax.oracles.reading import Reading
    from sora_jax.pipelines import sidecar

    started = time.perf_counter()
    reading = Reading(clip)
    oracles = reading.to_dict()
    read = time.perf_counter()
    paths = {
        suffix: stem.with_name(stem.name + suffix)
        for suffix in (".latents.npz", ".mp4", ".png", ".json")
    }
    sidecar.save(paths[".latents.npz"], clip)
    metadata = clip.provenance | {"latents": sidecar.digest(clip.latents)}
    media.write_mp4(paths[".mp4"], clip, metadata)
    title = clip.provenance["prompt"] or clip.provenance["task"]
    contact_sheet(paths[".png"], clip, title, reading.seen, reading.heard)
    timings = clip.timings | {
        "oracles": round(read - started, 4),
        "write": round(time.perf_counter() - read, 4),
    }
    report = {
        "prompt": clip.provenance["prompt"],
        "seed": clip.provenance["seed"],
        **{
            name: clip.provenance.get(name)
            for name in ("model", "video_tokenizer", "audio_tokenizer")
        },
        "settings": {k: clip.provenance[k] for k in ("task", "negative_prompt", "sampler")},
        "frames": len(clip.frames),
        "fps": clip.fps,
        "seconds": clip.seconds,
        "timings": timings,
        "notes": list(notes),
        "verdict": judge(clip, reading, family),
        "oracles": oracles,
    }
    files.write(paths[".json"], json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return report, reading


def facts_table(verdict: dict) -> str:
    """The verdict for people: a line for each fact, asked, seen and met."""
    if verdict["met"] is None:
        return f"prompt not judged: {verdict['reason']}"
    words = {None: "none", True: "yes", False: "no"}
    met = {None: "not read", True: "yes", False: "no"}
    cells = [("", "asked", "seen", "met")]
    for line in verdict["facts"]:
        name = (
            line["fact"]
            if line["ball"] is None
            else f"{line['ball']} ball"
            if line["fact"] == "colour"
            else f"  {line['fact']}"
        )
        values = [x if type(x) is int else words.get(x, x) for x in (line["asked"], line["seen"])]
        told = met[line["met"]] + (f": {line['reason']}" if line["reason"] else "")
        cells.append((name, *map(str, values), told))
    widths = [max(len(row[i]) for row in cells) for i in range(3)]
    rows = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]])
        for row in cells
    ]
    read = [line["met"] for line in verdict["facts"] if line["met"] is not None]
    head = f"prompt {'met' if verdict['met'] else 'not met'}: {sum(read)} of {len(read)} facts"
    return "\n    ".join([head, *rows])


def main(argv):
    prompts = read_prompts()
    folder = check_paths()
    from sora_jax.oracles.verdict import say_balls, say_impacts
    from sora_jax.pipelines.generate import Request
    from sora_jax.progress import Progress

    pipeline = generation.load()
    fields, notes = read_conditions(pipeline)
    sampler, first = generation.sampler(), generation.SEED.value
    jobs = [
        (i, Request(prompt, _NEGATIVE.value, first + n, sampler, **fields))
        for i, prompt in enumerate(prompts)
        for n in range(_NUM_SAMPLES.value)
    ]
    said = set()
    for _, request in jobs:
        pipeline.check(request)
        for note in [*notes, *pipeline.notes(request)]:
            if note not in said:
                said.add(note)
                print(f"note: {note}", file=sys.stderr)
    progress = Progress()
    for number, (index, request) in enumerate(jobs, start=1):
        started = time.perf_counter()
        with progress.job(f"clip {number} of {len(jobs)}") as show:
            clip = pipeline.generate(request, show)
        made = time.perf_counter() - started
        stem = free_stem(folder, index, request.prompt or request.task, request.seed)
        family = pipeline.trained_on.get("family")
        report, reading = write(stem, clip, [*notes, *clip.notes], family)
        print(
            f"{stem}.mp4: {clip.seconds:.3g} s, made in {made:.2f} s, "
            f"{request.prompt or request.task}"
        )
        print(f"  {facts_table(report['verdict'])}")
        print(f"  oracles read: {say_balls(reading)}; {say_impacts(reading)}")


if __name__ == "__main__":
    run_main(main)
