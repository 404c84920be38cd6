r"""Serve the studio: an HTTP API that generates clips, in the shape of OpenAI's Videos API.

  python -m experiments.serve --directory=outputs/studio
  python -m experiments.serve --directory=outputs/studio --new_key=mika
  python -m experiments.serve --role=worker --database=postgresql://USER@HOST/NAME --media=DIR \
      --directory=DIR

It prints its address. GET /healthz answers 200 once a worker has loaded its weights. Several hosts
may run --role=api and --role=worker on one PostgreSQL database and one folder of media. While no
API key exists (--new_key), only requests from this host are accepted. See docs/guides/studio.md.
"""

import importlib
from collections.abc import Sequence

from absl import flags

from sora_jax import studio
from sora_jax.cli import import_flags, run_main
from sora_jax.errors import UserError
from sora_jax.files import check_input
from sora_jax.studio.settings import ROLES, Limits, Settings

_DIRECTORY = flags.DEFINE_string(
    "directory", None, "Folder of the server: its database and media. Required."
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 needs a key.")
_PORT = flags.DEFINE_integer(
    "port", 8000, "Port to listen on; 0 takes a free one.", lower_bound=0, upper_bound=65535
)
_ROLE = flags.DEFINE_enum("role", "all", ROLES, "An API process, a worker process, or all.")
_DATABASE = flags.DEFINE_string(
    "database", None, "URL of the database, such as postgresql://USER@HOST/NAME. Default: SQLite."
)
_MEDIA = flags.DEFINE_string(
    "media", None, "Folder of the clips, or a URL of fsspec's. Default: in --directory."
)
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights of the model. Default: the shipped nano.")
_VIDEO = flags.DEFINE_string("video_tokenizer", None, "Weights. Default: the shipped one.")
_AUDIO = flags.DEFINE_string("audio_tokenizer", None, "Weights. Default: the shipped one.")
_STEPS = flags.DEFINE_integer("steps", 30, "Sampler steps without a request's.", lower_bound=1)
_BATCH = flags.DEFINE_integer(
    "batch", 4, "Clips of equal shape that a worker generates together.", lower_bound=1
)
_KEEP = flags.DEFINE_float(
    "keep_days", 30.0, "Days after which a clip's files are deleted.", lower_bound=0.001
)
_REQUESTS = flags.DEFINE_integer(
    "requests_per_minute", Limits.requests_per_minute, "Limit of each key.", lower_bound=1
)
_QUEUE = flags.DEFINE_integer("queue", Limits.queue, "Unfinished clips of a key.", lower_bound=1)
_UPLOAD = flags.DEFINE_integer(
    "upload_mib", Limits.upload_bytes >> 20, "Of a request.", lower_bound=1
)
_AUTHORITY = flags.DEFINE_string(
    "authority", None, "Folder of who signs files. Default: one for development is made."
)
_VERIFIER = flags.DEFINE_string(
    "verifier", Settings.verifier, "MODULE:CLASS that verifies captures of characters."
)
_NEW_KEY = flags.DEFINE_string("new_key", None, "Make a key of this name, print it, and end.")
_BACKUP = flags.DEFINE_string("backup", None, "Write database and media into a tar file, and end.")
_DELETE_KEY = flags.DEFINE_string("delete_key", None, "Delete the key of this name, and end.")


def settings() -> Settings:
    """Returns the flags' settings. Raises UserError without --directory or for unreadable files."""
    if _DIRECTORY.value is None:
        raise UserError("--directory is missing; give a folder, such as outputs/studio")
    for flag in (_WEIGHTS, _VIDEO, _AUDIO):
        check_input(flag.name, flag.value, "a .safetensors file, or nothing for the shipped one")
    limits = Limits(
        requests_per_minute=_REQUESTS.value,
        queue=_QUEUE.value,
        upload_bytes=_UPLOAD.value << 20,
    )
    return Settings(
        directory=_DIRECTORY.value,
        host=_HOST.value,
        port=_PORT.value,
        role=_ROLE.value,
        database=_DATABASE.value,
        media=_MEDIA.value,
        weights=_WEIGHTS.value,
        video_tokenizer=_VIDEO.value,
        audio_tokenizer=_AUDIO.value,
        steps=_STEPS.value,
        batch=_BATCH.value,
        keep_days=_KEEP.value,
        authority=_AUTHORITY.value,
        verifier=_VERIFIER.value,
        imports=tuple(name.removeprefix("--import=") for name in import_flags()),
        limits=limits,
    )


def main(_: Sequence[str]) -> None:
    studio.check_packages()
    chosen = settings()
    if _BACKUP.value is not None:
        backup = importlib.import_module("sora_jax.studio.upkeep.backup")
        print(f"{_BACKUP.value}: {backup.write(chosen, _BACKUP.value)} files")
        return
    if _NEW_KEY.value is None and _DELETE_KEY.value is None:
        if chosen.role == "worker":
            importlib.import_module("sora_jax.studio.worker.process").run(chosen)
        else:
            importlib.import_module("sora_jax.studio.http.server").serve(chosen)
        return
    accounts = importlib.import_module("sora_jax.studio.database.accounts")
    store = importlib.import_module("sora_jax.studio.database.store").Store(chosen.database_url)
    if _NEW_KEY.value is not None:
        print(accounts.new_key(store, _NEW_KEY.value))
    if _DELETE_KEY.value is not None:
        accounts.delete_key(store, _DELETE_KEY.value)
        print(f"the key {_DELETE_KEY.value} is deleted")


if __name__ == "__main__":
    run_main(main)
