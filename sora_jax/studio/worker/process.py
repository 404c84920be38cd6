"""The process of a worker: loads the weights, and works until a signal ends it.

A process that `server` started ends when its parent does, however that ends: it reads the end of
its stdin.
"""

import json
import os
import signal
import sys
import threading
from typing import NoReturn

from sora_jax.errors import UserError
from sora_jax.studio import logs
from sora_jax.studio.logs import log
from sora_jax.studio.settings import Settings
from sora_jax.studio.worker import worker

END_SECONDS = 20.0  # that a worker has to end after its parent


def run(settings: Settings, watched: bool = False) -> None:
    """Runs a worker until SIGINT or SIGTERM; its jobs then go back to the queue.

    Args:
        settings: of the server.
        watched: True ends it at the end of stdin too. Default False.

    Raises:
        UserError: it cannot start.
    """
    logs.prepare()
    if watched:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    running = worker.load(settings)

    def stop(*_: object) -> None:
        running.stop.set()

    for name in (signal.SIGTERM, *(() if watched else (signal.SIGINT,))):
        signal.signal(name, stop)
    log.info("worker %s is ready", running.id)
    running.run()


def child() -> None:
    """Main function of a process that `server` started: settings come through stdin.

    Exits with status 2 and one line after a UserError.
    """
    settings = Settings.from_dict(json.loads(sys.stdin.readline()))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this
    try:
        run(settings, watched=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _end_with_parent() -> NoReturn:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(END_SECONDS)
    os._exit(1)
