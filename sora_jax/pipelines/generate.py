"""The generation pipeline: prompt -> latents -> frames and samples.

Every generation goes through `Pipeline.generate_batch`. The start level of a latent is the noise
level from which it is sampled: 0 for a given latent, 1 for one to be generated.

    text alone          every latent at start level 1
    first_frame         video latent 0 given
    given_video         video given, audio generated; of any length (`film`), window by window
    given_audio         audio given, video generated
    continued           a clip extended, window by window (`windows`), in latent space
    remixed             all latents of a clip at start level `strength`
    edited              the latents of one shot at start level 1, those of the others given
    preceded, between   a clip extended backward, two clips joined, a clip closed to a loop
    and loop            (`bridges`)

`synthesis` makes the clips. `given` and `continuation` read files.
"""

import contextlib
import copy
import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sora_jax import files
from sora_jax.characters.gate import Gate
from sora_jax.clip import Clip, as_floats
from sora_jax.errors import UserError, expect
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.models.st_dit import STDiT
from sora_jax.models.text_encoder import PromptEncoder
from sora_jax.mp4 import check_arrays
from sora_jax.pipelines import codec, continuation, storyboards, synthesis, windows
from sora_jax.pipelines.devices import Placed, Placement
from sora_jax.pipelines.film import Film
from sora_jax.pipelines.formats import like, select
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.given import check_names, read_fields
from sora_jax.pipelines.likeness import check_characters
from sora_jax.pipelines.makers import maker_of
from sora_jax.pipelines.notes import check_words, request_notes
from sora_jax.pipelines.request import SOURCES, WHOLE, Request
from sora_jax.pipelines.request_checks import check_method, check_request
from sora_jax.pipelines.storyboards import check_storyboard
from sora_jax.progress import Progress, StepCount
from sora_jax.tokenizers.audio import AudioTokenizer
from sora_jax.tokenizers.video import VideoTokenizer
from sora_jax.weights import data_of, families_of


class Pipeline:
    """A model with its tokenizers, ready to generate. `load_pipeline` makes one from weights
    files.
    """

    def __init__(
        self,
        model: STDiT,
        video_tokenizer: VideoTokenizer,
        audio_tokenizer: AudioTokenizer,
        text_tokenizer: PromptEncoder,
        format: ClipFormat = FORMATS["nano"],
        fingerprints: dict[str, str] | None = None,
        config: dict[str, Any] | None = None,
        shift: float = 1.0,
        trained_on: dict[str, Any] | None = None,
        formats: Sequence[ClipFormat] = (),
        tasks: Mapping[str, float] | None = None,
    ):
        """Builds a pipeline from loaded modules.

        Args:
            model: the `STDiT`.
            video_tokenizer, audio_tokenizer, text_tokenizer: those that the model was trained with.
            format: format of the clips. Default: nano.
            fingerprints: {"model", "video_tokenizer", "audio_tokenizer"}, hashes of the weights for
                every clip's provenance. Default: none.
            config: the model's configuration, for every clip's provenance. Default: none.
            shift: the shift of noise levels in training, the sampler's default. Default 1.
            trained_on: the entry `data` of the metadata in the model's weights, which describes
                its data sets. Default: none, unknown.
            formats: those that the model was trained on. Default: `format` alone.
            tasks: weights of its training tasks (`flow.tasks`). Default: none, unknown.
        """
        self.formats, self.tasks = tuple(formats) or (format,), dict(tasks or {})
        self.model, self.text_tokenizer, self.format = model, text_tokenizer, format
        self.video_tokenizer, self.audio_tokenizer = video_tokenizer, audio_tokenizer
        self.fingerprints, self.config = dict(fingerprints or {}), dict(config or {})
        self.shift, self.trained_on = shift, dict(trained_on or {})
        self.gate = Gate()  # which characters may be shown, and by whom
        self._placement, self._asked = Placement(), {}

    def __repr__(self) -> str:
        parts = [self.fingerprints.get("model", "unnamed"), str(self.format)]
        return f"Pipeline(model {parts[0]}, {parts[1]}, trained on {self.data_name})"

    def in_format(self, **asked: Any) -> "Pipeline":
        """Returns this pipeline in another format that its model was trained on.

        Args:
            asked: height and width in pixels, fps, seconds, or shots (their number), as arguments
                of `formats.select`. The first format of `formats` that has them all is taken.

        Raises:
            UserError: the model was not trained on such a format.
        """
        other = copy.copy(self)
        other.format, other._asked = select(self.formats, **asked), asked
        return other

    def in_format_of(self, clip: str | os.PathLike | Generated, whole: bool = False) -> "Pipeline":
        """Returns this pipeline in the format, of those that its model was trained on, with the
        sides and rate of a clip. Settings that `in_format` asked for stay. If no format fits, the
        format stays.

        Args:
            clip: a generated clip, or the path of a file.
            whole: True prefers the format that has the clip's length and shots too. Default False.
        """
        other = copy.copy(self)
        formats = (self.format, *self.formats)
        own = continuation.format_of(clip) if whole else None
        if own in formats:
            other.format = own
        else:
            sides, rate = continuation.sides_and_rate(clip)
            other.format = like(formats, sides, rate, self._asked) or self.format
        return other

    def in_format_of_prompt(self, prompt: str) -> "Pipeline":
        """Returns this pipeline in the format, of those that its model was trained on, with the
        shots of a prompt that is a storyboard. If no format fits, or it is none, the format stays.

        Raises:
            UserError: the prompt begins with "[" like a storyboard, but cannot be read as one.
        """
        other = copy.copy(self)
        other.format = storyboards.format_of_prompt(prompt, self.format, self.formats)
        return other

    def read_request(self, fields: Mapping[str, Any]) -> tuple[Request, tuple[str, ...]]:
        """Returns the request with these fields, and notes on how files were fitted to the format.

        Args:
            fields: fields of `Request` by name, as values or as `Request.to_dict` writes them. A
                given part may be the path of its file.

        Raises:
            UserError: a file cannot be read, or a name is not a field of `Request`.
        """
        values, notes = read_fields(self, fields)
        return Request(**values), notes

    @property
    def data_name(self) -> str:
        """The families of scenes, or the sources, that the model was trained on."""
        sets = data_of({"data": self.trained_on})
        names = (one.get("family") or one.get("source") for one in sets)
        return ", ".join(dict.fromkeys(filter(None, names))) or "unknown data"

    def __call__(
        self,
        prompt: str | None = None,
        *,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: SamplerConfig | None = None,
        progress: bool = True,
        **given: Any,
    ) -> Generated:
        """Generates one clip, with a progress bar: the short form of `generate`.

        Args:
            prompt: describes the clip. None if another input is given instead.
            seed: seed of the noise; each seed gives another clip. Default 0.
            steps: number of steps of the sampler. Default: 30.
            guidance: scale of the text guidance. Default: 2.
            sampler: all settings of the sampler, in place of `steps` and `guidance`.
            progress: whether to draw the bar and print the clip's notes, on stderr. Default True.
            given: further fields of `Request`, such as first_frame, continued with seconds, or
                characters. A path is read from its file and fitted to the format. A source sets the
                format to its own, if the model was trained on it (`in_format_of`).

        Returns:
            The clip. A notebook displays it. `clip.verdict` says fact by fact whether it shows what
            was asked; `clip.notes` has remarks for the user.

        Raises:
            UserError: as in `generate`, and for a sampler together with steps or guidance.
        """
        check_names(given, ("steps", "guidance", "progress"))
        if sampler is None:
            text = Guidance() if guidance is None else Guidance(text=guidance)
            sampler = SamplerConfig(steps=30 if steps is None else steps, guidance=text)
        elif steps is not None or guidance is not None:
            raise UserError(
                "a sampler includes steps and guidance; give either the sampler or these two",
                field="sampler",
            )
        for name in SOURCES:
            clips = given.get(name)
            for clip in clips[:1] if isinstance(clips, (tuple, list)) else (clips,):
                if isinstance(clip, (str, os.PathLike, Generated)):
                    self = self.in_format_of(clip, whole=name in WHOLE)
        if isinstance(prompt, str):
            self = self.in_format_of_prompt(prompt)
        asked = {"prompt": prompt, "seed": seed, "sampler": sampler}
        request, notes = self.read_request({**given, **asked})
        self.check(request)
        if progress:
            for note in (*notes, *self.notes(request)):
                print(f"note: {note}", file=sys.stderr)
        show = Progress().job(prompt or request.task) if progress else contextlib.nullcontext()
        with show as on_progress:
            clip = self.generate(request, on_progress)
        return dataclasses.replace(clip, notes=(*notes, *clip.notes))

    def generate(
        self, request: Request, on_progress: Callable[[int, int], object] | None = None
    ) -> Generated:
        """Generates the clip of a request.

        Args:
            request: what to generate.
            on_progress: called with (steps done, total steps) after every step of the sampler.
                Default None.

        Raises:
            UserError: the request is not valid (see `check`), or the result has NaN or infinity.
        """
        return self.generate_batch([request], on_progress)[0]

    def generate_batch(
        self,
        requests: Sequence[Request],
        on_progress: Callable[[int, int], object] | None = None,
        size: int = 0,
    ) -> list[Generated]:
        """Generates the clips of several requests that share one sampler setting.

        Requests of one window (not `is_windowed`) go through the network together, on all devices
        of the process: each device holds the model and an equal share of the clips. One clip uses
        one device. A clip depends on its own request and not on the others or the devices, up to
        the order of floating-point sums: frames and samples agree with those of `generate` to 1e-4.

        Args:
            requests: what to generate.
            on_progress: as in `generate`; the steps of all windows count. Default None.
            size: clips that go through the network together; fewer are padded, so that batches of
                different lengths share one compiled program. Default 0: padding only to a multiple
                of the number of devices.

        Returns:
            The clips, in the order of the requests.

        Raises:
            UserError: as in `generate`, or the sampler settings differ.
        """
        if not requests:
            return []
        for request in requests:
            expect(request, Request, "request", "give a Request; pipeline(prompt) takes texts")
            self.check(request)
            if request.sampler != requests[0].sampler:
                raise UserError(
                    "requests of one batch have one sampler setting; give several batches",
                    field="sampler",
                )
        makers = {i: maker_of(request, self.format) for i, request in enumerate(requests)}
        fresh = [i for i, maker in makers.items() if maker is None]
        runs = int(bool(fresh))  # of the sampler
        runs += sum(maker.windows(requests[i], self.format) for i, maker in makers.items() if maker)
        on_step = StepCount(on_progress, requests[0].sampler.steps * runs)
        clips: dict[int, Generated] = {}
        if fresh:
            together = synthesis.fresh(self, [requests[i] for i in fresh], on_step, size)
            clips.update(zip(fresh, together, strict=True))
        for i, maker in makers.items():
            if maker is not None:
                clips[i] = maker.make(self, requests[i], on_step)
        return [clips[i] for i in range(len(requests))]

    def is_windowed(self, request: Request) -> bool:
        """Returns whether a clip is generated window by window, and alone in every batch: the audio
        of a film, or a request that continues, precedes, joins or loops clips.
        """
        return maker_of(request, self.format) is not None

    def placed(self, clips: int) -> Placed:
        """Returns the model and its tokenizers on the devices for a batch of `clips` clips."""
        return self._placement((self.model, self.video_tokenizer, self.audio_tokenizer), clips)

    def check(self, request: Request) -> None:
        """Raises UserError for a request that contradicts itself, asks for nothing, has no word in
        its prompt that the model learned, is a storyboard with other shots than the format, names
        other characters than those given, or shows one without consent (`characters.gate`).
        """
        check_request(request, self.format)
        check_method(request.sampler.method, self.model.config)
        families = families_of({"data": self.trained_on})
        check_storyboard(request.prompt, self.format, self.formats, families)
        check_characters(request, self.model.config.references, self.format.size)
        self.gate.check(request.prompt, request.characters)
        check_words(request, self.text_tokenizer, self.trained_on)

    def notes(self, request: Request) -> tuple[str, ...]:
        """Returns remarks for the user: words outside the vocabulary, words beyond the maximum
        length, seconds that are not whole latents.
        """
        maker = maker_of(request, self.format)
        added = 0 if maker is None else maker.added(request, self.format)
        parts = (self.format, self.text_tokenizer, self.trained_on, self.tasks, added)
        return request_notes(request, *parts)

    def encode(self, clip: Clip) -> dict[str, np.ndarray]:
        """Encodes a clip with audio, of 1 + n * frames_per_latent frames, to latents {"video":
        [T, h, w, C], "audio": [N, C]}. A clip with as many frames as the pipeline's format is
        divided into its shots; any other clip is one shot.

        Raises:
            UserError: `clip` is not a clip, or has no audio or another number of frames.
        """
        remedy = "give a Clip, such as fit_clip(read_video(path), pipeline.format)"
        expect(clip, Clip, "clip", remedy)
        check_arrays(clip)
        if clip.samples is None:
            raise UserError(
                "the clip has no audio to encode; give samples, zeros for silence", field="clip"
            )
        group, count = self.format.frames_per_latent, len(clip.frames)
        shots = self.format.shots if count == self.format.frames else ()
        if (count - 1) % group and not shots:
            raise UserError(
                f"the clip has {count} frames; give 1 + {group}k, for example "
                f"{count - (count - 1) % group}",
                field="clip",
            )
        return {
            "video": codec.encode(self.video_tokenizer, as_floats(clip.frames, "the clip"), shots),
            "audio": codec.encode(self.audio_tokenizer, clip.samples),
        }

    def decode(self, latents: dict[str, np.ndarray]) -> Clip:
        """Decodes latents {"video": [T, h, w, C], "audio": [N, C]} of any duration to a clip.

        Raises:
            UserError: an array has another number of axes or channels, or is empty.
        """
        expect(latents, Mapping, "latents", "give what encode returns")
        codec.check_latents(latents)
        video, audio = (np.asarray(latents[name])[None] for name in ("video", "audio"))
        format, count = self.format, video.shape[1]
        if count != format.video_latents:
            frames = windows.stream_frames(count, format)
            format = dataclasses.replace(format, frames=frames, shots=())
        sides = (format.height, format.width)
        shots = format.shot_latents
        (frames,), _ = codec.decode_video(self.video_tokenizer, video, sides, shots=shots)
        (samples,) = codec.decode_audio(self.audio_tokenizer, audio, format.samples)
        return Clip(frames, samples, format.fps)

    def provenance(self, request: Request) -> dict[str, Any]:
        """Returns everything needed to generate the clip of a request again, as JSON values."""
        provenance = {
            "made_by": "sora_jax",
            **self.fingerprints,
            "families": list(families_of({"data": self.trained_on})),
            "task": request.task,
            "prompt": request.prompt or "",
            "negative_prompt": request.negative_prompt,
            "seed": request.seed,
            "sampler": dataclasses.asdict(synthesis.sampler_of(self, request)),
            "config": self.config,
        }
        if request.characters:
            likenesses = request.characters.items()
            provenance["characters"] = {name: one.fingerprint for name, one in likenesses}
        if request.continued is not None:
            provenance["continued_from"] = request.continued.provenance
        elif request.sources:
            provenance["sources"] = [clip.provenance for clip in request.sources]
        if isinstance(request.given_video, Film) and request.given_video.path is not None:
            provenance["file"] = files.shown(request.given_video.path.name)
        return provenance


def __getattr__(name: str) -> Any:
    """Gives `load_pipeline` under its former module; it is in `pipelines.load` now."""
    if name == "load_pipeline":  # by name, as `load` imports this module
        return importlib.import_module("sora_jax.pipelines.load").load_pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
