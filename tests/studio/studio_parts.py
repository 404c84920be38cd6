"""Parts of the tests of the studio: tiny weights, and an application with its worker."""

import asyncio
import dataclasses
import json
import math
import subprocess
import sys

import httpx
import jax
import numpy as np
import sqlalchemy as sa
from flax import nnx

from sora_jax import weights
from sora_jax.modality import ClipFormat
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.studio.consent import captures
from sora_jax.studio.database import accounts, jobs, likenesses, tables
from sora_jax.studio.database.store import Store
from sora_jax.studio.endpoints.call import Studio
from sora_jax.studio.http.api import Api
from sora_jax.studio.settings import Limits, Settings
from sora_jax.studio.worker.worker import Worker
from sora_jax.tokenizers.audio import AudioTokenizer, AudioTokenizerConfig
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig
from sora_jax.worlds.playhouse.captions import WORDS

PROMPT = "a large red ball is dropped and bounces twice"
FORM = ClipFormat(frames=9, fps=8, height=16, width=16)
WIDE = ClipFormat(frames=9, fps=8, height=16, width=24)
MODEL = STDiTConfig(
    depth=1,
    width=32,
    heads=2,
    mlp_ratio=1.0,
    audio_width=32,
    audio_heads=2,
    exchange_width=16,
    exchange_heads=1,
    frame_tokens=1,
    text_width=16,
    text_heads=1,
    text_layers=1,
    vocabulary=1 + len(WORDS) + 16,
)
VIDEO = VideoTokenizerConfig(8, 16, 1, 1, 1, 1)
AUDIO = AudioTokenizerConfig(bands=16, width=16, encoder_blocks=1, decoder_blocks=1, iterations=2)


def random_state(make, seed):
    """The stored state of the module that `make` constructs, with random parameters."""
    params, rest = nnx.split(nnx.eval_shape(make), nnx.Param, ...)[1:]
    rng = np.random.default_rng(seed)

    def draw(x):
        return rng.normal(0, math.prod(x.shape[-2:-1]) ** -0.5, x.shape).astype(np.float32)

    other = jax.tree.map(lambda x: np.full(x.shape, 1.7, np.float32), rest)
    return nnx.merge_state(jax.tree.map(draw, params), other)


def save_weights(folder, model=MODEL, formats=(FORM, WIDE)):
    """Saves tiny weights; fields of `Settings` with their paths."""
    made = {
        "video_tokenizer": (VIDEO, lambda: VideoTokenizer(VIDEO, rngs=nnx.Rngs(0))),
        "audio_tokenizer": (AUDIO, lambda: AudioTokenizer(AUDIO, rngs=nnx.Rngs(0))),
        "st_dit": (model, lambda: STDiT(model, rngs=nnx.Rngs(0))),
    }
    fingerprints, paths = {}, {}
    for seed, (kind, (config, make)) in enumerate(made.items()):
        metadata = {}
        if kind == "st_dit":
            metadata = {
                "formats": [format.to_dict() for format in formats],
                "tokenizers": dict(fingerprints),
                "words": list(WORDS),
                "run": {},
                "data": {"family": "room"},
            }
        paths[kind] = str(folder / f"{kind}.safetensors")
        state = random_state(make, seed)
        fingerprints[kind] = weights.save_weights(paths[kind], kind, state, config, metadata)
    return {"weights": paths.pop("st_dit"), **paths}


class Bench:
    """An application and a worker over one database.

    Attributes: `settings`, `studio`, `worker`; `clip`, for a finished one.
    """

    def __init__(self, folder, pipeline, files, **changes):
        limits = {name: changes.pop(name) for name in list(changes) if hasattr(Limits, name)}
        base = {"directory": str(folder), "steps": 2, "batch": 2, "lease_seconds": 5.0}
        self.settings = Settings(**files, **base | changes, limits=Limits(**limits))
        self.pipeline, self.studio = pipeline, Studio.open(self.settings)
        self.app, self.clip = Api(self.studio).app(), None
        self.worker = self.new_worker()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.studio.close()

    def with_limits(self, **limits):
        """The application over the same database, with other limits."""
        settings = dataclasses.replace(self.settings, limits=Limits(**limits))
        self.studio = dataclasses.replace(self.studio, settings=settings)
        self.app = Api(self.studio).app()

    def new_worker(self):
        parts = (self.studio.store, self.studio.media, self.pipeline, self.studio.authority)
        return Worker(self.settings, *parts)

    def call(self, method, path, **request):
        """The response to a request."""

        async def send():
            transport = httpx.ASGITransport(self.app)
            base = "http://127.0.0.1:8000"
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                return await client.request(method, path, **request)

        return asyncio.run(send())

    def create(self, **fields):
        """The Video of an accepted request."""
        answer = self.call("POST", "/v1/videos", json={"prompt": PROMPT, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, video):
        return self.call("GET", f"/v1/videos/{video['id']}").json()

    def finished(self, video):
        """The Video after the worker has emptied the queue."""
        while self.worker.work():
            pass
        return self.get(video)

    def row(self, video):
        """The row of its job."""
        asked = sa.select(tables.jobs).where(tables.jobs.c.id == video["id"])
        with self.studio.store.engine.connect() as connection:
            return connection.execute(asked).one()

    def change(self, video, **values):
        """Changes columns of its job."""
        update = sa.update(tables.jobs).where(tables.jobs.c.id == video["id"])
        with self.studio.store.engine.begin() as connection:
            connection.execute(update.values(values))

    def content(self, video, variant="video"):
        path = f"/v1/videos/{video['id']}/content?variant={variant}"
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.content


def add_character(bench, account, handle, seed=0):
    """The id of a verified character of an account, as if a capture had passed; its references are
    noise.
    """
    store, rng = bench.studio.store, np.random.default_rng(seed)
    identity = {"face": rng.normal(0, 30, 20).tolist(), "pitch": 150.0, "tract": 1.0}
    stills = rng.integers(0, 256, (4, 64, 64, 3), np.uint8)
    shown = captures.Likeness(identity, stills, rng.uniform(-0.1, 0.1, 24_000).astype(np.float32))
    row = {
        "id": jobs.new_id("char"),
        "account_id": account,
        "name": handle,
        "handle": handle,
        "status": "verified",
        "media": "none",
        "fingerprint": shown.fingerprint,
        "identity": identity,
        "restrictions": [],
    }
    captures.save(bench.studio.media.path(captures.likeness_key(row["id"])), shown)
    others = [one.id for one in likenesses.of_others(store, account)]
    return likenesses.add_verified(store, row, others).id


def refused(answer, status, code, param=None):
    """Asserts that an answer is an error in the shape of the API, with one line and no traceback;
    its message.
    """
    assert answer.status_code == status, (answer.status_code, answer.text)
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    assert error["message"] and "\n" not in error["message"] and "Traceback" not in answer.text
    return error["message"]


CLAIM = """
import json, sys
from sora_jax.studio.database import jobs
from sora_jax.studio.database.store import Store
opened, mine = Store(sys.argv[1]), []
print("open", flush=True)
sys.stdin.readline()
while rows := jobs.claim(opened, sys.argv[2], 2, 60.0):
    mine += [row.id for row in rows]
print(json.dumps(mine))
"""


def add_job(opened, account, batch_key="a"):
    """The row of a new job."""
    row = {
        "id": jobs.new_id(),
        "account_id": account,
        "kind": "create",
        "model": "m",
        "prompt": PROMPT,
        "seconds": "1",
        "size": "16x16",
        "request": {"seed": 1},
        "batch_key": batch_key,
    }
    return jobs.accept(opened, row, 10_000)


def compete(url, count=60):
    """Three processes claim the jobs of one database at once, two at a time; the ids of the jobs,
    and those that each process got.
    """
    opened = Store(url)
    account = accounts.local(opened)
    made = [add_job(opened, account, "ab"[i % 2]).id for i in range(count)]
    opened.close()
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, url, f"w{i}"], stdin=pipe, stdout=pipe, text=True
        )
        for i in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "open\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return made, [json.loads(process.communicate(timeout=120)[0]) for process in processes]
