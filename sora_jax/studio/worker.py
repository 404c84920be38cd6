"""A worker: one pipeline, which generates the jobs of the table.

    claim -> check consent -> build requests -> generate_batch -> publish -> complete

A thread renews the leases of the jobs at work and records their progress. After every step of the
sampler the worker looks whether it still owns a job: a cancelled or lost one ends there. The
pipeline uses all devices that the process sees (`CUDA_VISIBLE_DEVICES`).
"""

import contextlib
import copy
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sora_jax.errors import UserError
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import ClipFormat
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.load import load_pipeline
from sora_jax.pipelines.request import Request
from sora_jax.registry import load_modules
from sora_jax.studio import consent, jobs, models
from sora_jax.studio.logs import log
from sora_jax.studio.media_store import MediaStore
from sora_jax.studio.problems import Problem
from sora_jax.studio.publish import publish
from sora_jax.studio.settings import Settings
from sora_jax.studio.store import Store

POLL_SECONDS = 0.2  # between two looks into an empty queue
SIGN_SECONDS = 4.0  # between two signs of life


class Stopped(Exception):
    """The worker was told to stop, or owns none of its jobs any more."""


class Refused(Exception):
    """A job that cannot be done.

    Attributes:
        code: for programs.
        message: one line for the user.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = code, message


class Worker:
    """A worker with a loaded pipeline."""

    def __init__(self, settings: Settings, store: Store, media: MediaStore, pipeline: Pipeline):
        """Registers the worker.

        Args:
            settings: of the server.
            store: the database.
            media: the media store.
            pipeline: a loaded one.
        """
        self.settings, self.store, self.media = settings, store, media
        self.pipeline = pipeline
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.stop = threading.Event()  # set it to end `run`
        self._owned: set[str] = set()
        self._progress, self._ended = 0, threading.Event()
        name = Path(settings.weights).stem if settings.weights else "nano"
        models.register(store, self.id, models.Model.of(pipeline, name))

    def run(self) -> None:
        """Works until `stop` is set. Jobs at work then go back to the queue."""
        beating = threading.Thread(target=self._beat, daemon=True)
        beating.start()
        try:
            while not self.stop.is_set():
                if not self.work():
                    self.stop.wait(POLL_SECONDS)
        finally:
            self._ended.set()
            beating.join()
            jobs.release(self.store, self.id)
            models.unregister(self.store, self.id)

    def work(self) -> int:
        """Claims jobs of equal shape and ends them. Returns their number."""
        settings = self.settings
        if not jobs.waiting(self.store):
            return 0
        if lost := jobs.take_back(self.store, settings.attempts):
            log.warning("%d jobs of lost workers are back in the queue", lost)
        lease = settings.lease_seconds
        claimed = jobs.claim(self.store, self.id, settings.batch, lease)
        self._progress, self._owned = 0, {job.id for job in claimed}
        try:
            ready = self._prepared(claimed)
            if ready:
                self._generate(ready)
        except Stopped:
            pass
        finally:
            self._owned = set()
        return len(claimed)

    def _prepared(self, claimed: Sequence[jobs.Row]) -> list[tuple[jobs.Row, Request]]:
        """Returns the jobs whose requests can be met, and fails the others."""
        ready = []
        for job in claimed:
            with self._failing(job):
                characters = job.request.get("characters", ())
                consent.check(self.store, job.account_id, characters)
                pipeline = self._pipeline(job)
                request = build_request(job, pipeline, self.media, self.store)
                pipeline.check(request)
                ready.append((job, request))
        return ready

    def _generate(self, ready: list[tuple[jobs.Row, Request]]) -> None:
        """Generates jobs together; one by one if that fails, so that only the culprit fails."""
        pipeline, requests = self._pipeline(ready[0][0]), [request for _, request in ready]
        size = self.settings.batch if len(ready) > 1 else 1
        try:
            clips = pipeline.generate_batch(requests, self._step, size)
        except Stopped:
            raise
        except Exception:
            if len(ready) > 1:
                for one in ready:
                    self._generate([one])
                return
            with self._failing(ready[0][0]):
                raise
            return
        for (job, _), clip in zip(ready, clips, strict=True):
            with self._failing(job):
                self._finish(job, clip)

    def _finish(self, job: jobs.Row, clip: Generated) -> None:
        """Writes the files of a clip, and then completes its job: nobody sees half of them."""
        folder = f"clips/{job.id}/{secrets.token_hex(4)}"
        try:
            columns = publish(self.media, folder, clip)
            keep = 86_400 * self.settings.keep_days
            done = jobs.complete(self.store, self.id, job, columns, keep)
        except BaseException:
            self.media.delete(folder)
            raise
        if done:
            log.info("%s completed in %s", job.id, clip.timings)
            self.media.delete(f"uploads/{job.id}")
        else:  # cancelled, or taken back after a lapsed lease
            self.media.delete(folder)

    @contextlib.contextmanager
    def _failing(self, job: jobs.Row) -> Iterator[None]:
        """Context manager: an error inside fails the job."""
        try:
            yield
            return
        except Stopped:
            raise
        except Refused as error:
            code, message = error.code, error.message
        except UserError as error:
            code, message = _code(error), error.message
        except Problem as error:
            code, message = error.body["error"]["code"], str(error)
        except Exception:
            log.exception("%s failed", job.id)
            code, message = "server_error", "The server failed to generate it; its log says why."
        jobs.fail(self.store, self.id, job.id, code, message)
        self.media.delete(f"uploads/{job.id}")

    def _pipeline(self, job: jobs.Row) -> Pipeline:
        """Returns the pipeline in the format of a job."""
        format = ClipFormat.from_dict(job.request["format"])
        if format not in self.pipeline.formats:
            raise Refused("invalid_format", f"The loaded model does not make {format}.")
        pipeline = copy.copy(self.pipeline)
        pipeline.format = format
        return pipeline

    def _step(self, done: int, total: int) -> None:
        """Notes the progress. Raises Stopped if there is no reason to go on."""
        self._progress = min(99, 100 * done // total)
        if self.stop.is_set() or not self._owned:
            raise Stopped

    def _beat(self) -> None:
        """Renews leases until the worker ends."""
        every, next_sign = min(0.5, self.settings.lease_seconds / 4), 0.0
        while not self._ended.wait(every):
            try:
                if time.monotonic() >= next_sign:
                    models.seen(self.store, self.id)
                    next_sign = time.monotonic() + SIGN_SECONDS
                if owned := self._owned:
                    lease, progress = self.settings.lease_seconds, self._progress
                    owned &= jobs.heartbeat(self.store, self.id, owned, progress, lease)
            except Exception:  # the database may be back before the lease ends
                log.exception("the heartbeat of %s failed", self.id)


def build_request(job: jobs.Row, pipeline: Pipeline, media: MediaStore, store: Store) -> Request:
    """Returns the request of a job, with its files read.

    Args:
        job: row of the job.
        pipeline: in the format of the job.
        media: the media store.
        store: the database.

    Raises:
        UserError: a file cannot be read.
        Refused: the source of the job was deleted.
    """
    asked = job.request
    guidance = asked["guidance"]
    scales = Guidance() if guidance is None else Guidance(text=guidance)
    fields: dict[str, Any] = {
        "prompt": job.prompt,
        "negative_prompt": asked["negative_prompt"],
        "seed": asked["seed"],
        "sampler": SamplerConfig(steps=asked["steps"], guidance=scales),
    }
    if "first_frame" in asked:
        fields["first_frame"] = str(media.path(asked["first_frame"]))
    if "source" in asked:
        source = _source(asked["source"], media, store)
        if job.kind == "extend":
            fields |= {"continued": source, "seconds": asked["added"]}
        elif asked["shot"] is not None:
            fields |= {"edited": source, "edit_shot": asked["shot"]}
        else:
            strength = asked["strength"]
            fields |= {"remixed": source} | ({} if strength is None else {"strength": strength})
    return pipeline.read_request(fields)[0]


def _source(source: dict[str, str], media: MediaStore, store: Store) -> str:
    """Returns the path of the video that a job starts from."""
    if "upload" in source:
        return str(media.path(source["upload"]))
    clip = jobs.find_clip(store, source["clip"])
    if clip is None:
        raise Refused("source_deleted", "The video that this one starts from was deleted.")
    return str(media.path(f"{clip.folder}/video.mp4"))


def _code(error: UserError) -> str:
    """Returns the code of a failed job, such as "invalid_prompt"."""
    if error.code != "invalid":
        return error.code
    return f"invalid_{error.field}" if error.field else "invalid_request"


def load(settings: Settings) -> Worker:
    """Returns a worker with the weights of the settings.

    Raises:
        UserError: the weights, the database or the media store cannot be opened.
    """
    load_modules(settings.imports)
    store, media = Store(settings.database_url), MediaStore(settings.media_folder)
    tokenizers = settings.video_tokenizer, settings.audio_tokenizer
    return Worker(settings, store, media, load_pipeline(settings.weights, *tokenizers))
