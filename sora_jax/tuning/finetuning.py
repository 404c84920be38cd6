"""Fine-tunes a model on a folder of videos, from scan to result, as stations of a recipe.

    scan        finds files, their problems and their cuts                scan/index.html
    clips       cuts the clips, in the format of the base model
    check       encodes and decodes 16 held-out clips                     check/round_trip.png
    cost        predicts memory and hours, before anything is trained     cost/cost.json
    tokenizer   fine-tunes the video tokenizer and checks it again, if
                the PSNR of the check is below `min_psnr`
    latents     encodes all clips
    model       trains the model, with validation and previews
    result      scores, previews from held-out captions, and a page       result/index.html

Each station has a folder of its name (right: the file to look at). A station that is done is
skipped (`sora_jax.recipe`), and a training that was stopped goes on.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sora_jax import files, weights
from sora_jax.compat import check_platform, enable_compile_cache
from sora_jax.data import video_folder
from sora_jax.data.digest import digest
from sora_jax.data.folder_captions import TABLE
from sora_jax.data.folder_plan import FolderPlan, read_plan
from sora_jax.data.folder_scan import scan
from sora_jax.data.latents.precompute import precompute
from sora_jax.data.video_records import VideoFolderSource
from sora_jax.errors import UserError
from sora_jax.recipe import Kitchen, Station
from sora_jax.training.run import Run
from sora_jax.training.tokenizer import train_tokenizer
from sora_jax.training.train import train
from sora_jax.tuning import round_trip, scan_report
from sora_jax.tuning.forecast import COST, forecast, read_forecast
from sora_jax.tuning.result import Made, write_result
from sora_jax.tuning.settings import Settings, format_of, model_run, tokenizer_run

LATENTS = "latents"


@dataclasses.dataclass(frozen=True)
class Finetuned:
    """The result of a fine-tuning.

    Attributes:
        weights: the file of the model's weights, or of its low-rank updates.
        video_tokenizer, audio_tokenizer: files of the tokenizers that belong to it.
        page: the page that shows the result.
        scores: the contents of `result/scores.json` (`result.score`), with predicted and measured
            cost.
    """

    weights: Path
    video_tokenizer: Path
    audio_tokenizer: Path
    page: Path
    scores: dict[str, Any]


def finetune(videos: str | os.PathLike, workdir: str | os.PathLike, **settings: Any) -> Finetuned:
    """Fine-tunes a model on a folder of videos; experiments.finetune calls this.

    Args:
        videos: the folder. Captions lie beside the videos (`data.folder_captions`).
        workdir: the folder of the run: new, or that of the same fine-tuning, which goes on.
        settings: fields of `tuning.settings.Settings`.

    Returns:
        The files that it made, and the scores.

    Raises:
        UserError: the folder has no usable video, a caption is missing or names no video, the
            tokenizers reproduce the clips too poorly, memory does not suffice, or a setting is
            wrong.
        KeyboardInterrupt: stopped by a signal; the same call goes on.
    """
    return _begun(videos, workdir, settings).run()


def scan_videos(videos: str | os.PathLike, workdir: str | os.PathLike, **settings: Any) -> Path:
    """Runs the first station of `finetune` alone, the scan, and returns its page.

    The arguments and errors are those of `finetune`, which goes on from the scan.
    """
    line = _begun(videos, workdir, settings)
    line.scan()
    return line.workdir / "scan" / scan_report.INDEX


def _begun(
    videos: str | os.PathLike, workdir: str | os.PathLike, settings: Mapping[str, Any]
) -> "_Line":
    chosen = Settings.checked(videos=os.fspath(videos), **settings)
    check_platform()
    enable_compile_cache()
    return _Line(chosen, files.user_path(workdir).absolute())


class _Line:
    """The stations of one fine-tuning in its folder.

    `kitchen` runs them and records which are done. `format` is that of the base model's clips.
    """

    def __init__(self, settings: Settings, workdir: Path) -> None:
        self.settings, self.kitchen = settings, Kitchen([], workdir)
        self.workdir = workdir
        self.format = format_of(settings.load_base())

    def scan(self) -> FolderPlan:
        """Scans the folder, unless that is done, prints what was found, and returns the plan."""
        s = self.settings
        asked = (s.cuts, s.caption, str(s.clips_per_file), str(self.format))
        self.do("scan", self._scan, scan_report.PLAN, self._contents(), *asked)
        found = json.loads((self.workdir / "scan" / scan_report.FACTS).read_text(encoding="utf-8"))
        print(scan_report.sentence(found), flush=True)
        for problem in found["problems"]:
            print(f"  {problem['file']}: {problem['reason']}", flush=True)
        return read_plan(self.workdir / "scan" / scan_report.PLAN)

    def run(self) -> Finetuned:
        """Runs the stations that are not done, and returns the result."""
        s, plan = self.settings, self.scan()
        config = video_folder.VideoFolderConfig(plan.folder, self.format, fit=s.fit, plan=plan)
        built = f"video_folder/{config.name}/{video_folder.VideoFolder.VERSION}"
        self.do("clips", lambda folder: self._clips(folder, config), built, "{scan}", s.fit)
        clips = self.workdir / "clips" / built
        self.do(
            "check",
            lambda folder: self._check(clips, folder),
            round_trip.CHECK,
            "{clips}",
            *s.tokenizers.values(),
        )
        checked = round_trip.read_check(self.workdir / "check")
        print(checked.sentence(), flush=True)
        tokenizers = s.tokenizers
        tune = self._tunes(checked.mean_psnr)
        latents = self.workdir / LATENTS
        run = model_run(s, plan, latents, tokenizers)
        self.do(
            "cost", lambda folder: self._cost(folder, run, plan, clips, tune), COST, *self._all()
        )
        told = read_forecast(self.workdir / "cost")
        print(told.sentence(), flush=True)
        if tune:
            tokenizers["video_tokenizer"] = self._tokenizer(clips)
            run = model_run(s, plan, latents, tokenizers)
        inputs = ("{clips}", *(["{tokenizer}"] if tune else []))
        self.do("latents", lambda _: self._latents(clips, tokenizers), ".", *inputs)
        kind = "lora" if s.lora_rank else "weights"
        depends = ("{latents}", *self._all())
        self.do(
            "model", lambda folder: self._train(folder, run, tune), f"{kind}.safetensors", *depends
        )
        trained = self.workdir / "model" / f"{kind}.safetensors"

        def result(folder: Path) -> None:
            made = Made(s, run, plan, clips, latents, trained, tokenizers)
            write_result(folder, self.workdir, made, told, self.kitchen.record)

        self.do("result", result, "scores.json", "{model}", str(s.previews))
        scores = json.loads((self.workdir / "result" / "scores.json").read_text(encoding="utf-8"))
        page = self.workdir / "result" / "index.html"
        video, audio = (Path(tokenizers[f"{kind}_tokenizer"]) for kind in ("video", "audio"))
        return Finetuned(trained, video, audio, page, scores)

    def do(self, name: str, call: Callable[[Path], object], makes: str, *depends: str) -> None:
        """Runs a station unless it is done.

        Args:
            name: the name of the station and of its folder.
            call: the work, a function of the station's folder.
            makes: the file or folder that the station makes, relative to its folder.
            depends: settings that the station depends on, as text, and stations as "{NAME}".
        """
        known = {"{" + one.name + "}" for one in self.kitchen.stations}
        # Braces of a user's text, such as a caption, name no station.
        parts = (part if part in known else part.replace("{", "(") for part in depends)
        station = Station(name, (name, *parts), makes, call=call)
        self.kitchen.stations.append(station)
        if not self.kitchen.is_done(station):
            print(f"{name} ...", flush=True)
            self.kitchen.run(station)

    def _all(self) -> tuple[str, ...]:
        """Returns the settings that trainings depend on as texts "name=value"."""
        values = dataclasses.asdict(self.settings)
        skip = ("videos", "caption", "cuts", "previews", "memory")
        base = self.settings.load_base().fingerprint
        return (
            f"base={base}",
            *(f"{k}={v}" for k, v in values.items() if k not in (*skip, "base")),
        )

    def _contents(self) -> str:
        """Returns a digest of the folder's contents. If it is no folder, returns its path: the scan
        then raises the error.
        """
        folder = Path(self.settings.videos).expanduser()
        if not folder.is_dir():
            return str(folder)
        table = folder / TABLE
        rows = digest(folder, [table]) if table.is_file() else ""
        return f"{video_folder.contents(folder)}{rows}"

    def _scan(self, folder: Path) -> None:
        s = self.settings
        found = scan(s.videos, self.format, s.caption or None, s.cuts, s.clips_per_file)
        scan_report.write_scan(found, folder)

    def _clips(self, folder: Path, config: video_folder.VideoFolderConfig) -> None:
        _, report = video_folder.build(folder, config)
        if report["skipped"]:
            print(video_folder.summary(report), flush=True)

    def _check(self, clips: Path, folder: Path) -> None:
        round_trip.check(clips, folder, *self.settings.tokenizers.values())

    def _tunes(self, psnr: float) -> bool:
        """Returns whether to fine-tune the video tokenizer: True if `psnr`, in dB, is below
        `min_psnr`. Raises UserError if that is so and the setting `tokenizer` is "refuse".
        """
        s = self.settings
        if psnr >= s.min_psnr:
            return False
        if s.tokenizer == "refuse":
            raise UserError(
                f"the round trip of held-out clips is {psnr:.1f} dB, below {s.min_psnr:g}: a model "
                "cannot show more than its tokenizer; give both or decoder to fine-tune it, or a "
                "lower min_psnr",
                field="tokenizer",
            )
        what = (
            "only its decoder, so latents stay valid"
            if s.tokenizer == "decoder"
            else "both halves, which makes a new latent space"
        )
        print(
            f"below {s.min_psnr:g} dB: the video tokenizer is fine-tuned first, {what}", flush=True
        )
        return True

    def _tokenizer(self, clips: Path) -> str:
        """Fine-tunes the video tokenizer, checks it, and returns its file.

        Raises:
            UserError: the PSNR of held-out clips is still below `min_psnr`.
        """
        s = self.settings
        start = s.tokenizers["video_tokenizer"]
        run = tokenizer_run(s, clips, weights.load_weights(start, "video_tokenizer"))

        def fit(folder: Path) -> None:
            train_tokenizer(run, folder, init_from=start)

        settings = (s.tokenizer, str(s.tokenizer_steps), str(s.seed))
        self.do("tokenizer", fit, "weights.safetensors", "{clips}", *settings)
        file = self.workdir / "tokenizer" / "weights.safetensors"

        def check(folder: Path) -> None:
            round_trip.check(clips, folder, file, s.tokenizers["audio_tokenizer"])

        self.do("check_again", check, round_trip.CHECK, "{tokenizer}")
        again = round_trip.read_check(self.workdir / "check_again")
        print(again.sentence(), flush=True)
        if again.mean_psnr < s.min_psnr:
            raise UserError(
                f"the fine-tuned tokenizer gives {again.mean_psnr:.1f} dB on held-out clips, below "
                f"{s.min_psnr:g}; give more tokenizer_steps in another workdir, or less min_psnr",
                field="min_psnr",
            )
        return str(file)

    def _latents(self, clips: Path, tokenizers: Mapping[str, str]) -> None:
        video, video_weights = weights.load_video_tokenizer(tokenizers["video_tokenizer"])
        audio, audio_weights = weights.load_audio_tokenizer(tokenizers["audio_tokenizer"])
        fingerprints = {
            "video_tokenizer": video_weights.latents,
            "audio_tokenizer": audio_weights.latents,
        }
        for split, folder in (("train", LATENTS), ("val", f"{LATENTS}/val")):
            source = VideoFolderSource(clips, split, batch_size=8)
            precompute(source, video, audio, self.workdir / folder, fingerprints)

    def _cost(self, folder: Path, run: Run, plan: FolderPlan, clips: Path, tune: bool) -> None:
        s, tokenizer = self.settings, None
        if tune:
            start = weights.load_weights(s.tokenizers["video_tokenizer"], "video_tokenizer")
            tokenizer = tokenizer_run(s, clips, start)
        forecast(folder, run, tokenizer, plan.count("train"), s.memory)

    def _train(self, folder: Path, run: Run, new_space: bool) -> None:
        partly = new_space and self.settings.tokenizer == "both"
        train(run, folder, init_from=self.settings.base_file, partly=partly)
