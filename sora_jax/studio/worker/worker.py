"""A worker: one pipeline, which generates the clips of queued jobs.

    claim -> check consent -> build requests -> generate_batch -> publish -> complete

A thread renews the leases of the jobs at work, records their progress, and checks whether their
characters are still granted. After every step of the sampler the worker stops if it owns none of
its jobs any more (they were cancelled or lost). A job whose character was taken back fails then,
and the others start again without it. The pipeline uses all devices that the process sees
(`CUDA_VISIBLE_DEVICES`).
"""

import contextlib
import copy
import dataclasses
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy.exc import OperationalError

from sora_jax.errors import UserError
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import ClipFormat
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.load import load_pipeline
from sora_jax.pipelines.request import Request
from sora_jax.provenance.authority import Authority
from sora_jax.registry import load_modules
from sora_jax.studio.consent import permissions
from sora_jax.studio.database import jobs, models
from sora_jax.studio.database.store import Store
from sora_jax.studio.database.wake import Listener
from sora_jax.studio.logs import log
from sora_jax.studio.problems import NO_ROOM, Problem
from sora_jax.studio.settings import Settings
from sora_jax.studio.storage import authorities
from sora_jax.studio.storage.media_store import MediaStore
from sora_jax.studio.storage.publish import publish
from sora_jax.studio.storage.remote_media import open_media
from sora_jax.studio.worker.sampling import Admitted, Refused, admit, build_request, statement

AGAIN_SECONDS = 1.0  # pause after the database did not answer
SIGN_SECONDS = 4.0  # time between two records that the worker is alive


class Stopped(Exception):
    """The worker was told to stop, or owns none of its jobs any more."""


class Withdrawn(Exception):
    """A character of a job at work was taken back."""


WITHDRAWN = Refused(
    "character_permission_denied",
    "The owner of a character took it back while this video was generated.",
)


@dataclasses.dataclass(frozen=True)
class Ready:
    """A job whose request is valid and whose characters may be shown."""

    job: jobs.Row
    request: Request
    admitted: Admitted


class Worker:
    """A worker with a loaded pipeline."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        media: MediaStore,
        pipeline: Pipeline,
        authority: Authority,
    ):
        """Registers the worker in the database as ready.

        Args:
            settings: settings of the server.
            store: the database.
            media: the media store.
            pipeline: a loaded pipeline.
            authority: the authority that signs and marks the files.
        """
        self.settings, self.store, self.media = settings, store, media
        self.pipeline, self.authority = pipeline, authority
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.stop = threading.Event()  # set it to end `run`
        self._owned: set[str] = set()
        self._showing: list[jobs.Row] = []  # jobs at work that show characters
        self._withdrawn: set[str] = set()  # of them, those whose character was taken back
        self._progress, self._ended = 0, threading.Event()
        name = Path(settings.weights).stem if settings.weights else "nano"
        models.register(store, self.id, models.Model.of(pipeline, name))

    def run(self) -> None:
        """Works until `stop` is set. Jobs at work then go back to the queue."""
        beating, listener = threading.Thread(target=self._beat, daemon=True), Listener(self.store)
        beating.start()
        try:
            self._compile()
            while not self.stop.is_set():
                try:
                    if not self.work():
                        listener.wait(self.stop)
                except OperationalError as error:  # the leases end, and the jobs go back
                    log.error(
                        "the database does not answer: %s", " ".join(str(error).split())[:200]
                    )
                    self.stop.wait(AGAIN_SECONDS)
        finally:
            self._ended.set()
            beating.join()
            listener.close()
            jobs.release(self.store, self.id)
            models.unregister(self.store, self.id)

    def _compile(self) -> None:
        """Compiles the programs of one clip of the default format, so that the first job need not
        wait for them. If a job waits already, this does nothing.
        """
        try:
            if jobs.waiting(self.store):
                return
            request = Request("a ball", any_words=True, sampler=SamplerConfig(steps=1))
            began = time.monotonic()
            self.pipeline.generate_batch([request], self._go_on)
            log.info("programs are compiled after %.1f s", time.monotonic() - began)
        except Stopped:
            return
        except Exception:  # a job will fail for the same reason, and show it to its user
            log.exception("no program could be compiled")

    def _go_on(self, *_: int) -> None:
        """Raises Stopped if the worker was told to stop."""
        if self.stop.is_set():
            raise Stopped

    def work(self) -> int:
        """Claims jobs that can be generated together, and completes or fails each. Returns their
        number.
        """
        settings = self.settings
        if not jobs.waiting(self.store):
            return 0
        if lost := jobs.take_back(self.store, settings.attempts):
            log.warning("%d jobs of lost workers are back in the queue", lost)
        lease = settings.lease_seconds
        claimed = jobs.claim(self.store, self.id, settings.batch, lease)
        self._progress, self._owned = 0, {job.id for job in claimed}
        try:
            for group in self._groups(self._prepared(claimed)):
                self._generate(group)
        except Stopped:
            pass
        finally:
            self._owned, self._showing, self._withdrawn = set(), [], set()
        return len(claimed)

    def _prepared(self, claimed: Sequence[jobs.Row]) -> list[Ready]:
        """Returns the jobs whose requests are valid and permitted, and fails the others."""
        ready = []
        for job in claimed:
            with self._failing(job):
                pipeline = self._pipeline(job)
                size = pipeline.format.size
                admitted = admit(self.store, self.media, self.authority, job, size)
                pipeline.gate = permissions.gate(self.store, job.account_id, admitted.known)
                likes = admitted.likenesses
                request = build_request(job, pipeline, self.media, self.store, likes)
                pipeline.check(request)
                ready.append(Ready(job, request, admitted))
        self._showing = [one.job for one in ready if one.admitted.consent]
        return ready

    def _groups(self, ready: Sequence[Ready]) -> list[list[Ready]]:
        """Divides jobs into groups that go through the network together. Jobs that show characters
        are grouped by account, because a pipeline's gate is that of one account.
        """
        groups: dict[str, list[Ready]] = {}
        for one in ready:
            account = one.job.account_id if one.request.characters else ""
            groups.setdefault(account, []).append(one)
        return list(groups.values())

    def _generate(self, ready: Sequence[Ready]) -> None:
        """Generates the clips of jobs together; one by one if that fails, so that only the job that
        causes the failure fails.
        """
        if not ready:
            return
        pipeline, requests = self._pipeline(ready[0].job), [one.request for one in ready]
        known = dict(pair for one in ready for pair in one.admitted.known.items())
        pipeline.gate = permissions.gate(self.store, ready[0].job.account_id, known)
        size = self.settings.batch if len(ready) > 1 else 1
        try:
            clips = pipeline.generate_batch(requests, self._step, size)
        except (Stopped, OperationalError):
            raise
        except Withdrawn:
            self._generate(self._without_withdrawn(ready))
            return
        except Exception:
            if len(ready) > 1:
                for one in ready:
                    self._generate([one])
                return
            with self._failing(ready[0].job):
                raise
            return
        for one, clip in zip(ready, clips, strict=True):
            with self._failing(one.job):
                self._finish(one, clip)

    def _without_withdrawn(self, ready: Sequence[Ready]) -> list[Ready]:
        """Fails the jobs whose character was taken back, and returns the others."""
        taken, self._withdrawn = self._withdrawn, set()
        for one in ready:
            if one.job.id in taken:
                with self._failing(one.job):
                    raise WITHDRAWN
        return [one for one in ready if one.job.id not in taken]

    def _finish(self, one: Ready, clip: Generated) -> None:
        """Writes the files of a clip, and then completes its job, so that nobody sees a part of the
        files.
        """
        job = one.job
        folder = f"clips/{job.id}/{secrets.token_hex(4)}"
        try:
            stated = statement(job, self.media, self.store, one.admitted.consent)
            columns = publish(self.media, folder, clip, self.authority, stated)
            if permissions.withdrawn(self.store, [job]):
                raise WITHDRAWN
        except BaseException:
            self.media.delete(folder)
            raise
        keep = 86_400 * self.settings.keep_days
        # If `complete` raises, the row may have been written, so the files are not deleted here;
        # `content.sweep` deletes them if no row names them.
        if jobs.complete(self.store, self.id, job, columns, keep):
            log.info("%s completed in %s", job.id, clip.timings)
            self.media.delete(f"uploads/{job.id}")
        else:  # cancelled, or taken back after a lapsed lease
            self.media.delete(folder)

    @contextlib.contextmanager
    def _failing(self, job: jobs.Row) -> Iterator[None]:
        """Context manager: an error inside fails the job and is not raised further, except Stopped
        and errors of the database.
        """
        try:
            yield
            return
        except (Stopped, OperationalError):
            raise
        except Refused as error:
            code, message = error.code, error.message
        except UserError as error:
            code, message = _code(error), error.message
            if code == "storage":
                log.error("%s failed: %s", job.id, message)
                message = NO_ROOM
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
        """Notes the progress after a step of the sampler. Raises Stopped or Withdrawn if there is
        no reason to go on.
        """
        self._progress = min(99, 100 * done // total)
        if self.stop.is_set() or not self._owned:
            raise Stopped
        if self._withdrawn:
            raise Withdrawn

    def _beat(self) -> None:
        """Renews leases, and notes lost jobs and withdrawn characters, until the worker ends."""
        every, next_sign = min(0.5, self.settings.lease_seconds / 4), 0.0
        while not self._ended.wait(every):
            try:
                if time.monotonic() >= next_sign:
                    models.seen(self.store, self.id)
                    next_sign = time.monotonic() + SIGN_SECONDS
                if owned := self._owned:
                    lease, progress = self.settings.lease_seconds, self._progress
                    owned &= jobs.heartbeat(self.store, self.id, owned, progress, lease)
                    showing = [job for job in self._showing if job.id in owned]
                    if showing:
                        self._withdrawn |= permissions.withdrawn(self.store, showing)
            except Exception:  # the database may be back before the lease ends
                log.exception("the heartbeat of %s failed", self.id)


def _code(error: UserError) -> str:
    """Returns the code of a job that fails with an error, such as "invalid_prompt"."""
    if error.code != "invalid":
        return error.code
    return f"invalid_{error.field}" if error.field else "invalid_request"


def load(settings: Settings) -> Worker:
    """Returns a worker that has loaded the weights that the settings name.

    Raises:
        UserError: the weights, the database or the media store cannot be opened.
    """
    load_modules(settings.imports)
    store, media = Store(settings.database_url), open_media(settings)
    tokenizers = settings.video_tokenizer, settings.audio_tokenizer
    authority = authorities.open_for(settings, store)
    pipeline = load_pipeline(settings.weights, *tokenizers)
    return Worker(settings, store, media, pipeline, authority)
