"""The result of a fine-tuning: previews of held-out captions, scores, and the last page."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sora_jax import files, mp4
from sora_jax.clip import Clip
from sora_jax.contact_sheet import contact_sheet
from sora_jax.data.folder_plan import FolderPlan
from sora_jax.data.video_records import VideoFolderSource
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.models.cost import quantity
from sora_jax.pipelines.load import load_pipeline
from sora_jax.pipelines.request import Request
from sora_jax.training import metrics
from sora_jax.training.run import Run
from sora_jax.training.watch import peak_memory
from sora_jax.tuning import round_trip, scan_report
from sora_jax.tuning.forecast import Forecast
from sora_jax.tuning.page import Page
from sora_jax.tuning.scores import DRAWS, distances, losses
from sora_jax.tuning.settings import Settings, prompts_of
from sora_jax.weights import load_video_tokenizer

SCORES, PREVIEWS, CURVE = "scores.json", "previews.json", "curve.png"
STEPS, GUIDANCE = 30, 2.0  # steps of the sampler of previews, and scale of its text guidance
SCORED = 48  # held-out clips whose loss is measured, and clips of each set of a distance, at most


@dataclasses.dataclass(frozen=True)
class Made:
    """The settings and files of a fine-tuning whose model is trained.

    Attributes:
        settings: the settings of the fine-tuning.
        run: the configuration of the model's training.
        plan: the plan of the folder's clips.
        clips: the folder of the built set of clips.
        latents: the folder of the latents, with those of held-out clips in its subfolder `val`.
        weights: the file of the trained weights or low-rank updates.
        tokenizers: files of the tokenizers by kind.
    """

    settings: Settings
    run: Run
    plan: FolderPlan
    clips: Path
    latents: Path
    weights: Path
    tokenizers: Mapping[str, str]


def write_result(
    folder: Path,
    workdir: Path,
    made: Made,
    told: Forecast,
    stations: Mapping[str, Any],
) -> None:
    """Generates the previews, scores the model, and writes the page.

    Args:
        folder: receives the files.
        workdir: the folder of the fine-tuning.
        made: the settings and the files made so far.
        told: the forecast of time and memory, to compare with the measured cost.
        stations: the record of each station by name, with its "seconds".
    """
    previews = write_previews(folder, made)
    scores = score(folder, workdir, made, previews)
    trained = ("tokenizer", "check_again", "model")
    seconds = sum(stations[name]["seconds"] for name in trained if name in stations)
    scores["told"] = {"seconds": told.seconds, "memory_bytes": told.memory_bytes}
    scores["took"] = {"seconds": seconds, "memory_bytes": peak_memory()}
    scores["stations"] = {name: entry["seconds"] for name, entry in stations.items()}
    draw_curve(folder / CURVE, metrics.read(workdir / "model" / "metrics.jsonl"))
    write_page(folder, workdir, made, scores, previews)
    files.write(folder / SCORES, json.dumps(scores, indent=1) + "\n")


def write_previews(folder: Path, made: Made) -> list[dict[str, Any]]:
    """Generates clips from captions of held-out files, and writes each as mp4 and contact sheet.

    Returns:
        For each clip {"prompt": the caption, "file": name of the mp4, "clip": the `Clip`}.
    """
    lora = made.settings.lora_rank > 0
    files_of = (made.tokenizers["video_tokenizer"], made.tokenizers["audio_tokenizer"])
    model, updates = (made.settings.base_file, made.weights) if lora else (made.weights, None)
    pipeline = load_pipeline(model, *files_of, updates)
    prompts = prompts_of(made.plan, made.settings.previews)
    sampler = SamplerConfig(steps=STEPS, guidance=Guidance(text=GUIDANCE))
    requests = [Request(prompt, seed=i, sampler=sampler) for i, prompt in enumerate(prompts)]
    found = []
    for i, clip in enumerate(pipeline.generate_batch(requests)):
        name = f"preview_{i:02d}"
        mp4.write_mp4(folder / f"{name}.mp4", clip, clip.provenance)
        contact_sheet(folder / f"{name}.png", clip, prompts[i])
        found.append({"prompt": prompts[i], "file": f"{name}.mp4", "clip": clip})
    rows = [{key: one[key] for key in ("prompt", "file")} for one in found]
    files.write(folder / PREVIEWS, json.dumps(rows, indent=1) + "\n")
    return found


def read_clips(directory: Path, split: str, most: int) -> list[Clip]:
    """Returns at most `most` clips of a built set, evenly spread over a split."""
    source = VideoFolderSource(directory, split)
    batch = source.batch(round_trip.spread(len(source), most))
    sounds = zip(batch["frames"], batch["samples"], batch["has_audio"], strict=True)
    return [Clip(x, s if heard else None, source.format.fps) for x, s, heard in sounds]


def score(
    folder: Path, workdir: Path, made: Made, previews: list[dict[str, Any]]
) -> dict[str, Any]:
    """Returns the scores by name, as JSON values.

    They are the PSNR and log-mel distance of decoded held-out clips in dB (`round_trip`), the
    losses before and after (`scores.Losses.summary`), and the feature distances of the previews and
    of the training clips from the held-out clips (`scores.distances`).

    Args:
        folder: the folder of the result.
        workdir: the folder of the fine-tuning.
        made: the settings and the files made so far.
        previews: from `write_previews`.
    """
    checked = round_trip.read_check(workdir / "check")
    again = workdir / "check_again"
    final = round_trip.read_check(again) if again.is_dir() else checked
    base = made.settings.base_file
    fell = losses(made.run, made.latents / "val", base, made.weights, SCORED)
    sets = {
        "training clips": read_clips(made.clips, "train", SCORED),
        "held-out clips": read_clips(made.clips, "val", SCORED),
        "previews": [one["clip"] for one in previews],
    }
    # Of the shipped tokenizer, whatever the model's, so that runs compare with each other
    tokenizer, _ = load_video_tokenizer()
    of = distances(tokenizer, sets, "held-out clips", "training clips")
    return {
        "round_trip_before": checked.mean_psnr,
        "round_trip": final.mean_psnr,
        "round_trip_log_mel": float(np.mean(final.log_mel)) if final.log_mel else None,
        "loss": fell.summary(),
        "distance_from_held_out": of,
    }


def draw_curve(path: Path, rows: list[dict[str, float]]) -> None:
    """Draws the training and the validation loss over steps, and writes a png file.

    `rows` are the rows of metrics of the training.
    """
    figure = Figure(figsize=(7, 3.2), facecolor="white")
    axis = figure.add_subplot()
    for name, label, style in (("loss", "training", "-"), ("val/loss", "held-out clips", "o-")):
        points = [(row["step"], row[name]) for row in rows if name in row]
        if points:
            axis.plot(*zip(*points, strict=True), style, label=label, markersize=4)
    axis.set(xlabel="step", ylabel="loss")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={})


def write_page(
    folder: Path,
    workdir: Path,
    made: Made,
    scores: Mapping[str, Any],
    previews: list[dict[str, Any]],
) -> None:
    """Writes index.html, the page of the result, to `folder`.

    The other arguments are the folder of the fine-tuning, the settings and files made so far, the
    result of `score` with the cost, and that of `write_previews`.
    """
    page, loss = Page("Fine-tuned on your videos"), scores["loss"]
    facts = json.loads((workdir / "scan" / scan_report.FACTS).read_text(encoding="utf-8"))
    page.text(scan_report.sentence(facts))
    for problem in facts["problems"]:
        page.text(f"{problem['file']}: {problem['reason']}", wrong=True)
    low, high = loss["fall_interval"]
    page.heading("Scores on held-out files")
    rows = [
        ("round trip before", f"{scores['round_trip_before']:.1f} dB"),
        ("round trip of the tokenizer used", f"{scores['round_trip']:.1f} dB"),
        ("loss before", f"{loss['before']:.4f}"),
        ("loss after", f"{loss['after']:.4f}"),
        (
            f"fall of the loss ({loss['clips']} clips)",
            f"{loss['fall']:.4f}, "
            + (f"95 % {low:.4f} to {high:.4f}" if loss["clips"] > 1 else "no interval of one clip"),
        ),
        *(
            (f"distance of {name} from held-out clips", f"{value:.1f}")
            for name, value in scores["distance_from_held_out"].items()
        ),
    ]
    page.table(("score", "value"), rows)
    page.text(
        f"The losses before and after are means over {DRAWS} draws of noise for each clip. The "
        "validation in the curve has other noise, so its values differ."
    )
    page.text(
        "The distance is a Frechet distance of diagonal Gaussians over this project's own features "
        "(latents of its video tokenizer, log-mel levels). It is no FVD. That of the training "
        "clips says how small it can be."
    )
    levels = [(name, *map(_measured, pair)) for name, pair in loss["levels"].items()]
    page.table(("loss by noise level, q1 the cleanest", "before", "after"), levels)
    page.picture(CURVE, "loss over the steps of the training")
    page.heading("Previews of held-out captions")
    for one in previews:
        page.picture(one["file"], one["prompt"])
        page.picture(one["file"].replace(".mp4", ".png"), "its frames, waveform and log-mel levels")
    page.heading("Round trip through the tokenizers")
    again = "check_again" if (workdir / "check_again").is_dir() else "check"
    page.picture(f"../{again}/{round_trip.SHEET}", "held-out clips above, decoded below")
    page.heading("The folder")
    page.picture(f"../scan/{scan_report.SHEET}", "the middle of each file, held out in red")
    page.heading("Cost")
    told, took = scores["told"], scores["took"]
    page.table(
        ("", "told before", "was"),
        [
            ("training", f"{told['seconds'] / 60:.1f} min", f"{took['seconds'] / 60:.1f} min"),
            ("memory", quantity(told["memory_bytes"], "B"), quantity(took["memory_bytes"], "B")),
        ],
    )
    page.table(
        ("station", "minutes"),
        [(name, f"{seconds / 60:.1f}") for name, seconds in scores["stations"].items()],
    )
    page.write(folder / "index.html")


def _measured(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
