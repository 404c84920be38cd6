"""One way from a request to a clip: prompt -> latents -> frames and samples.

Every generation goes through `Pipeline.generate`.

    text alone          every latent at start level 1
    first_frame         video latent 0 given
    given_video         the picture given, the sound made
    given_audio         the sound given, the picture made
    continued           a clip made longer, window by window (`windows`), in latent space

Given means start level 0 (`sora_jax.flow.conditioning`); only the history of a continued clip is
lightly noised, and put back unchanged afterwards. Files are read elsewhere (`sidecar`,
`sora_jax.media`).
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.clip import Clip, as_floats
from sora_jax.errors import UserError, expect
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig, sample
from sora_jax.modality import AUDIO_CHANNELS, FORMATS, VIDEO_CHANNELS, ClipFormat
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.pipelines import codec, windows
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.given import FILES, read_given
from sora_jax.pipelines.request import Request
from sora_jax.progress import Laps, Progress, StepCount

HISTORY_LEVEL = 0.05  # start level of a continued clip's history; training draws it from [0, 0.1]


class Pipeline:
    """A model with its tokenizers, ready to generate. `load_pipeline` makes one from files."""

    def __init__(
        self,
        model,
        video_tokenizer,
        audio_tokenizer,
        text_tokenizer: TextTokenizer,
        form: ClipFormat = FORMATS["nano"],
        fingerprints: dict[str, str] | None = None,
        config: dict[str, Any] | None = None,
        shift: float = 1.0,
        trained_on: dict[str, Any] | None = None,
    ):
        """fingerprints of the three parts and the model's config go into every clip's provenance;
        shift: that of training; trained_on: the data of the model's card.
        """
        self.model, self.video_tokenizer, self.audio_tokenizer = (
            model,
            video_tokenizer,
            audio_tokenizer,
        )
        self.text_tokenizer, self.format = text_tokenizer, form
        self.fingerprints, self.config = dict(fingerprints or {}), dict(config or {})
        self.shift, self.trained_on = shift, dict(trained_on or {})

    def __repr__(self) -> str:
        parts = [self.fingerprints.get("model", "unnamed"), str(self.format)]
        family = self.trained_on.get("family") or self.trained_on.get("source")
        return f"Pipeline(model {parts[0]}, {parts[1]}, trained on {family or 'unknown data'})"

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
        """One clip, with a progress bar: the short form of `generate`.

        Args:
            prompt: what the clip shows; None where something is given instead.
            seed: of the noise; another one is another clip.
            progress: whether to draw the bar.
            steps, guidance: of the sampler; by default 30 and 2.
            sampler: all of its settings, in place of these two.
            given: further fields of `Request`: first_frame, given_video, given_audio, continued
                with seconds, negative_prompt. The path of a file is read and fitted to the format.

        Returns: the clip. A notebook shows it; `clip.verdict` says fact by fact whether it is what
        was asked, `clip.notes` what to know of it.

        Raises UserError as `generate` does, and for a sampler with steps or guidance.
        """
        if sampler is None:
            text = Guidance() if guidance is None else Guidance(text=guidance)
            sampler = SamplerConfig(steps=30 if steps is None else steps, guidance=text)
        elif steps is not None or guidance is not None:
            raise UserError(
                "a sampler says steps and guidance itself; give one or the other", field="sampler"
            )
        paths = {n: given[n] for n in FILES if isinstance(given.get(n), (str, os.PathLike))}
        read, notes = read_given(self, **paths)
        request = Request(prompt, seed=seed, sampler=sampler, **given | read)
        self.check(request)
        show = Progress().job(prompt or request.task) if progress else contextlib.nullcontext()
        with show as on_progress:
            clip = self.generate(request, on_progress)
        return dataclasses.replace(clip, notes=(*notes, *clip.notes))

    def generate(
        self, request: Request, on_progress: Callable[[int, int], object] | None = None
    ) -> Generated:
        """The clip that was asked for; on_progress(done, total) after every step of the sampler.

        Raises UserError for a request that cannot be met (see `check`), and where the numbers that
        come out are not finite.
        """
        return self.generate_batch([request], on_progress)[0]

    def generate_batch(
        self, requests: Sequence[Request], on_progress: Callable[[int, int], object] | None = None
    ) -> list[Generated]:
        """The same for several requests with one sampler setting; those that continue no clip go
        through the network together.

        A clip depends on its own request, not on its companions, up to the order of floating-point
        sums.
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
        fresh = [i for i, request in enumerate(requests) if request.continued is None]
        extended = [i for i, request in enumerate(requests) if request.continued is not None]
        counts = [1] if fresh else []
        counts += [self._windows(requests[i]) for i in extended]
        progress = StepCount(on_progress, requests[0].sampler.steps * sum(counts))
        clips: dict[int, Generated] = {}
        if fresh:
            clips.update(zip(fresh, self._fresh([requests[i] for i in fresh], progress)))
        for i in extended:
            clips[i] = self._extended(requests[i], progress)
        return [clips[i] for i in range(len(requests))]

    def check(self, request: Request) -> None:
        """Raises UserError for a request that contradicts itself or asks for nothing."""
        request.check(self.format)

    def notes(self, request: Request) -> tuple[str, ...]:
        """What a user should know: words that the vocabulary lacks, words past the longest text,
        seconds that are no whole latents.
        """
        notes = []
        if request.continued is not None:
            latent = self.format.frames_per_latent / self.format.fps
            added = (self._target(request) - len(request.continued.latents["video"])) * latent
            if abs(added - request.seconds) > 1e-6:
                notes.append(
                    f"{request.seconds:g} s become {added:g} s: a clip grows by whole latents "
                    f"of {latent:g} s, rounded up"
                )
        for name, text in (
            ("prompt", request.prompt),
            ("negative prompt", request.negative_prompt),
        ):
            words = [w for w in self.text_tokenizer.unknown(text or "") if w[0].isalnum()]
            if words:
                notes.append(
                    f"the {name} has words outside the vocabulary, which the model never "
                    f"learned: {', '.join(words)}"
                )
            if len(self.text_tokenizer.split(text or "")) > self.text_tokenizer.length:
                notes.append(f"the {name} is cut after {self.text_tokenizer.length} words")
        return tuple(notes)

    def encode(self, clip: Clip) -> dict[str, np.ndarray]:
        """A clip of 1 + 4k frames, with sound -> latents {"video": [T, h, w, C], "audio":
        [N, C]}.

        Raises UserError for another value, or a clip of another kind.
        """
        remedy = "give a Clip, such as fit_clip(read_video(path), pipeline.format)"
        expect(clip, Clip, "clip", remedy)
        if clip.samples is None:
            raise UserError(
                "the clip has no sound to encode; give it samples, zeros for silence", field="clip"
            )
        group, count = self.format.frames_per_latent, len(clip.frames)
        if (count - 1) % group:
            raise UserError(
                f"the clip has {count} frames; give 1 + {group}k, for example "
                f"{count - (count - 1) % group}",
                field="clip",
            )
        return {
            "video": codec.encode(self.video_tokenizer, as_floats(clip.frames, "the clip")),
            "audio": codec.encode(self.audio_tokenizer, clip.samples),
        }

    def decode(self, latents: dict[str, np.ndarray]) -> Clip:
        """Latents {"video": [T, h, w, C], "audio": [N, C]} -> the clip that they stand for.

        Raises UserError for arrays of other shapes.
        """
        expect(latents, Mapping, "latents", "give what encode returns")
        for name, axes, channels in (("video", 4, VIDEO_CHANNELS), ("audio", 2, AUDIO_CHANNELS)):
            shape = np.shape(latents.get(name, 0))
            if len(shape) != axes or shape[-1] != channels or not all(shape):
                raise UserError(
                    f"latents {name} have the shape {shape}; give what encode returns, {axes} "
                    f"axes of which the last holds {channels}",
                    field="latents",
                )
        video, audio = (np.asarray(latents[name])[None] for name in ("video", "audio"))
        (frames,), _ = codec.decode_video(self.video_tokenizer, video)
        length = windows.stream_samples(video.shape[1], self.format)
        (samples,) = codec.decode_audio(self.audio_tokenizer, audio, length)
        return Clip(frames, samples, self.format.fps)

    def _text(self, texts: Sequence[str | None]) -> dict[str, jax.Array]:
        tokens, mask = self.text_tokenizer([text or "" for text in texts])
        return {"tokens": jnp.asarray(tokens), "mask": jnp.asarray(mask)}

    def _sample(self, requests, keys, start, given, times, progress) -> dict[str, np.ndarray]:
        form = self.format
        shapes = {
            "video": (form.video_latents, form.latent_size, form.latent_size, VIDEO_CHANNELS),
            "audio": (form.audio_latents, AUDIO_CHANNELS),
        }
        config = self._sampler(requests[0])
        text, negative = (
            self._text([r.prompt for r in requests]),
            self._text([r.negative_prompt for r in requests]),
        )
        # nothing for text guidance to pull towards
        if not text["mask"].any() and not negative["mask"].any():
            guidance = dataclasses.replace(config.guidance, text=1.0, picture=None, sound=None)
            config = dataclasses.replace(config, guidance=guidance)
        latents = sample(
            self.model, keys, shapes, start, given, text, negative, times, config, progress
        )
        return {m: np.asarray(x) for m, x in latents.items()}

    def _sampler(self, request: Request) -> SamplerConfig:
        """The request's sampler with what only the model knows."""
        shift = self.shift if request.sampler.shift is None else request.sampler.shift
        return dataclasses.replace(request.sampler, shift=shift, output=self.model.config.output)

    def _fresh(self, requests: Sequence[Request], progress) -> list[Generated]:
        form, clock = self.format, Laps()
        size, side = len(requests), form.latent_size
        start = {
            "video": np.ones((size, form.video_latents), np.float32),
            "audio": np.ones((size, form.audio_latents), np.float32),
        }
        given = {
            "video": np.zeros((size, form.video_latents, side, side, VIDEO_CHANNELS), np.float32),
            "audio": np.zeros((size, form.audio_latents, AUDIO_CHANNELS), np.float32),
        }
        for i, request in enumerate(requests):
            frames = request.given_video if request.given_video is not None else request.first_frame
            if frames is not None:
                frames = as_floats(frames, request.task)
                frames = frames if frames.ndim == 4 else frames[None]
                latents = codec.encode(self.video_tokenizer, frames)
                given["video"][i, : len(latents)] = latents
                start["video"][i, : len(latents)] = 0
            if request.given_audio is not None:
                given["audio"][i] = codec.encode(self.audio_tokenizer, request.given_audio)
                start["audio"][i] = 0
        clock.lap("encode")
        keys = jnp.stack([jax.random.key(request.seed) for request in requests])
        latents = self._sample(requests, keys, start, given, form.latent_times(), progress)
        clock.lap("sample")
        frames, caches = codec.decode_video(self.video_tokenizer, latents["video"])
        samples = codec.decode_audio(self.audio_tokenizer, latents["audio"], form.samples)
        clock.lap("decode")
        clips = []
        for i, request in enumerate(requests):
            own = {m: x[i] for m, x in latents.items()}
            pictures = (
                frames[i]
                if request.given_video is None
                else as_floats(request.given_video, "given_video")
            )
            sound = (
                samples[i]
                if request.given_audio is None
                else np.asarray(request.given_audio, np.float32)
            )
            clips.append(self._clip(request, pictures, sound, own, caches[i], clock))
        return clips

    def _windows(self, request: Request) -> int:
        """How many windows a continuation takes."""
        latents, count = len(request.continued.latents["video"]), 0
        while latents < self._target(request):
            latents = (
                windows.next_window(latents, self.format).video_start + self.format.video_latents
            )
            count += 1
        return count

    def _target(self, request: Request) -> int:
        new = -(-round(request.seconds * self.format.fps, 6) // self.format.frames_per_latent)
        return len(request.continued.latents["video"]) + int(new)

    def _extended(self, request: Request, progress) -> Generated:
        old, form, clock = request.continued, self.format, Laps()
        target, key = self._target(request), jax.random.key(request.seed)

        def make(window, given):
            start = {
                m: np.where(known, HISTORY_LEVEL, 1.0)[None]
                for m, known in (("video", window.video_given), ("audio", window.audio_given))
            }
            own = jax.random.fold_in(key, window.video_start)[None]
            made = self._sample(
                [request],
                own,
                start,
                {m: x[None] for m, x in given.items()},
                window.times,
                progress,
            )
            return {m: x[0] for m, x in made.items()}

        known = len(old.latents["video"])
        latents = windows.extend(old.latents, form, target, make)
        clock.lap("sample")
        cache = old.cache
        if cache is None:
            _, (cache,) = codec.decode_video(self.video_tokenizer, old.latents["video"][None])
        (new,), (cache,) = codec.decode_video(
            self.video_tokenizer, latents["video"][None, known:], cache
        )
        frames = np.concatenate([as_floats(old.frames, "continued"), new])
        length = windows.stream_samples(target, form)
        (samples,) = codec.decode_audio(self.audio_tokenizer, latents["audio"][None], length)
        clock.lap("decode")
        return self._clip(
            request, frames, windows.join(old.samples, samples), latents, cache, clock
        )

    def _clip(self, request: Request, frames, samples, latents, cache, clock) -> Generated:
        made = {
            "video latents": latents["video"],
            "audio latents": latents["audio"],
            "frames": frames,
            "samples": samples,
        }
        for name, x in made.items():
            if not np.isfinite(x).all():
                first = int(np.argmin(np.isfinite(x).reshape(len(x), -1).all(1)))
                guidance = request.sampler.guidance.text
                raise UserError(
                    f"the {name} made with seed {request.seed} are NaN or infinite from number "
                    f"{first} of {len(x)} on, so there "
                    f"is no clip; lower the guidance (now {guidance:g}), or use other weights"
                )
        form = dataclasses.replace(self.format, frames=len(frames))
        return Generated(
            frames,
            samples,
            form.fps,
            notes=self.notes(request),
            format=form,
            latents=latents,
            cache=cache,
            provenance=self.provenance(request),
            timings=clock.laps,
        )

    def provenance(self, request: Request) -> dict[str, Any]:
        """What makes the clip of a request, as JSON values: all that is needed to make it again."""
        provenance = {
            "made_by": "sora_jax",
            **self.fingerprints,
            "family": self.trained_on.get("family"),
            "task": request.task,
            "prompt": request.prompt or "",
            "negative_prompt": request.negative_prompt,
            "seed": request.seed,
            "sampler": dataclasses.asdict(self._sampler(request)),
            "config": self.config,
        }
        if request.continued is not None:
            provenance["continued_from"] = request.continued.provenance
        return provenance
