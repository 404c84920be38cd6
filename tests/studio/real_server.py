"""A real server of the command, and the accounts, captures and uploads of those who attack it."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from studio_parts import FORM, MODEL, PROMPT, save_weights

from sora_jax.characters.capture import FORMAT, capture
from sora_jax.clip import Clip
from sora_jax.modality import ClipFormat
from sora_jax.mp4 import write_mp4
from sora_jax.oracles.examples import render_takes
from sora_jax.studio.database import accounts
from sora_jax.studio.database.store import Store
from sora_jax.worlds.playhouse.cast import catalogue

ROOT = Path(__file__).parents[2]
SQUARE = ClipFormat(frames=9, fps=8, height=64, width=64)  # faces and marks need 64 pixels
STORY = ClipFormat(frames=51, fps=8, height=64, width=64, shots=(17, 17, 17))
SHOWING = dataclasses.replace(MODEL, references=2)
ACTORS = {"mika": 3, "rolo": 17, "nova": 40}  # of the held-out cast
COMMAND = [sys.executable, "-m", "experiments.serve"]
# An API process that asks nobody for consent, over the same database.
UNGUARDED = """
import json, sys
from sora_jax.studio.endpoints import videos
from sora_jax.studio.http import server
from sora_jax.studio.settings import Settings

def admit(call, model, prompt, given, found, start):
    return list(given), []

videos._admit = admit
server.serve(Settings.from_dict(json.loads(sys.argv[1])))
"""


def named(handle, prompt=PROMPT):
    """A prompt that names a character."""
    return f"@{handle}: {prompt}"


@functools.cache
def actor(name):
    return catalogue("held_out")[ACTORS[name]]


def filmed(take):
    """The clip of a take of a capture."""
    (clip,) = render_takes([take], FORMAT, 1)
    return clip


def captured(name, phrase, seed=50):
    """The capture in which an actor says a phrase."""
    return filmed(capture(actor(name), tuple(phrase.split()), seed))


def mp4(clip):
    """A clip as the bytes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_mp4(path, clip)
        return path.read_bytes()


def changed(clip, frames=None, samples=None):
    """A clip with other frames or samples."""
    frames = clip.frames if frames is None else frames
    return Clip(frames, clip.samples if samples is None else samples, clip.fps)


def fitted(samples, count):
    """Samples cut or padded to a count."""
    return np.pad(samples, (0, max(0, count - len(samples))))[:count]


class Server:
    """The command with its worker, and an API process without a gate over the same database."""

    def __init__(self, folder, *flags):
        self.folder, self.flags, self.keys = folder, flags, {}
        self.files = save_weights(folder, SHOWING, (SQUARE, STORY, FORM))
        self.store = Store(f"sqlite:///{folder}/studio.sqlite")
        for name in ("alice", "bob", "mallory"):
            self.keys[name] = accounts.new_key(self.store, name)
        self.log = (folder / "log").open("w")
        self.processes = []

    def __enter__(self):
        flags = [f"--{name}={value}" for name, value in self.files.items()]
        flags += [f"--directory={self.folder}", "--port=0", "--steps=2", "--queue=100"]
        self.base = self._start([*COMMAND, *flags, "--requests_per_minute=60000", *self.flags])
        self.wait_for(lambda: self.get("/healthz").status_code == 200)
        return self

    def unguarded(self):
        """The address of an API process that asks nobody for consent."""
        values = {
            "directory": str(self.folder), "port": 0, "role": "api", "steps": 2,
            "imports": [], "limits": {"requests_per_minute": 60_000, "queue": 100},
        }  # fmt: skip
        return self._start([sys.executable, "-c", UNGUARDED, json.dumps(values)])

    def _start(self, command):
        environment = os.environ | {"PYTHONPATH": f"{ROOT}"}
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment
        )
        self.processes.append(process)
        line = process.stdout.readline()
        found = re.fullmatch(r"serving at (http://127\.0\.0\.1:\d+)/v1 \(with a key\)\n", line)
        assert found, line + (self.folder / "log").read_text()
        return found[1]

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()
            process.stdout.close()
        self.log.close()
        self.store.close()

    @property
    def worker(self):
        """The id of the worker process."""
        pid = str(self.processes[0].pid)
        found = subprocess.run(["pgrep", "-P", pid, "-f", "worker.process"], capture_output=True)
        return int(found.stdout.split()[0])

    def get(self, path):
        return httpx.get(self.base + path, timeout=60)

    def call(self, who, method, path, base=None, **request):
        """The response to a request of an account."""
        headers = {"authorization": f"Bearer {self.keys[who]}"} | request.pop("headers", {})
        url = (base or self.base) + path
        return httpx.request(method, url, headers=headers, timeout=300, **request)

    def json(self, who, method, path, **request):
        answer = self.call(who, method, path, **request)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_for(self, condition, seconds=600):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.4)
        raise AssertionError("it took too long")

    def finished(self, who, video):
        """A video when it has ended."""
        path = f"/v1/videos/{video['id']}"

        def ended():
            found = self.json(who, "GET", path)
            return found if found["status"] in ("completed", "failed") else None

        return self.wait_for(ended)

    def challenge(self, who):
        return self.json(who, "POST", "/v1/characters/challenges", json={})

    def record(self, who, name, content, challenge=None, kind="video/mp4"):
        """The response to an upload of a capture."""
        data = {"name": name} | ({} if challenge is None else {"challenge_id": challenge["id"]})
        files = {"video": ("me.mp4", content, kind)}
        return self.call(who, "POST", "/v1/characters", data=data, files=files)

    def attempt(self, who, name, make):
        """The response to a capture that `make` returns for the phrase of a new challenge."""
        challenge = self.challenge(who)
        return self.record(who, name, make(challenge["phrase"]), challenge)

    def enrol(self, who, name):
        """The verified character of an actor. One of 100 genuine captures is refused, so as a user
        would the actor records again.
        """
        for seed in (50, 51, 52):
            made = captured(name, (challenge := self.challenge(who))["phrase"], seed)
            answer = self.record(who, name, mp4(made), challenge)
            assert answer.status_code == 200, answer.text
            if answer.json()["status"] == "verified":
                return answer.json()
        raise AssertionError(answer.text)

    def create(self, who, prompt, **fields):
        """The response to a request for a clip."""
        base = fields.pop("base", None)
        body = {"prompt": prompt, "size": "64x64", **fields}
        return self.call(who, "POST", "/v1/videos", base=base, json=body)

    def content(self, who, video, variant="video"):
        path = f"/v1/videos/{video['id']}/content?variant={variant}"
        return self.call(who, "GET", path)
