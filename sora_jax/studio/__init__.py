"""The studio: a server that generates clips over HTTP, on one machine or on many.

request -> API process -> jobs table -> worker process -> media store -> API process

A job is an accepted request for a clip. The media store holds the files of clips.

http/        API process: server, routing, limits of requests, OpenAPI document, web page
worker/      worker process: claims jobs, checks consent, samples, publishes
upkeep/      backups and soak tests
endpoints/   functions of the API: videos, characters, grants, checks, posts, feed, sessions
storage/     files of clips: media stores, signing, publication, signed URLs
consent/     permissions to show characters, verified captures, screening of uploads
database/    tables and their migrations, jobs, accounts, characters, loaded models

A package imports only those below it in this list. The two processes share only `storage` and what
stands below it. All use `settings`, `problems` and `logs`.

The API is that of OpenAI's Videos, so that OpenAI's Python package (the "official package") works
with the server unchanged. `python -m experiments.serve` starts it. The packages of REQUIRED belong
to the optional dependency group `studio`.
"""

import importlib.util

from sora_jax.errors import UserError

REQUIRED = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "sqlalchemy": "sqlalchemy",
    "python-multipart": "python_multipart",
    "c2pa-python": "c2pa",
    "cryptography": "cryptography",
}


def check_packages() -> None:
    """Raises UserError if a package of the studio is not installed."""
    missing = [name for name, module in REQUIRED.items() if not importlib.util.find_spec(module)]
    if missing:
        raise UserError(
            f"the studio needs {', '.join(missing)}; pip install -e '.[studio]'", code="not_found"
        )
