"""The studio: a server that generates clips over HTTP, on one machine or on many.

request -> `api` -> jobs table (`jobs`) -> `worker` -> media store -> `api`

The API is that of OpenAI's Videos, so its official Python package drives the server unchanged.
`python -m experiments.serve` starts it. The packages of REQUIRED belong to the extra `studio`.
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
