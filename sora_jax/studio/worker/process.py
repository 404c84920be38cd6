"""The process of a worker: loads the weights, and works until a signal ends it.

A worker that `http.server` started also ends when its parent does, even if that is killed: its
stdin is a pipe from the parent, of which it then reads the end.
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

END_SECONDS = 20.0  # time that a worker has to end after its parent


def run(settings: Settings, watched: bool = False) -> None:
    """Runs a worker until SIGINT or SIGTERM; its jobs then go back to the queue.

    Args:
        settings: settings of the server.
        watched: True for a child of an API process: the worker also ends with its stdin, and
            leaves SIGINT to its parent. Default False.

    Raises:
        UserError: the weights, the database or the media store cannot be opened.
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
    """The main function of a worker that `http.server` started. It reads the settings from stdin.

    After a UserError it prints one line and exits with status 2.
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
