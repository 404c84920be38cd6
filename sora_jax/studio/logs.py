"""The log of the studio: one line on stderr for each event."""

import logging
import sys

log = logging.getLogger("sora_jax.studio")


def prepare() -> None:
    """Lets this process write the log to stderr, from level INFO on. Call it once at the start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
