"""Runs an API process, and with role "all" a worker process beside it.

The worker is a child process, so that neither its crash nor a long compilation stops the API. A
worker that died is started again.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.studio import logs
from sora_jax.studio.database import accounts
from sora_jax.studio.endpoints.call import Studio
from sora_jax.studio.http.api import Api
from sora_jax.studio.logs import log
from sora_jax.studio.settings import Settings

AGAIN_SECONDS = 2.0  # pause before a worker that died is started again
END_SECONDS = 20.0  # time that a worker has to end
CHILD = "from sora_jax.studio.worker.process import child; child()"


def serve(settings: Settings) -> None:
    """Runs an API process until SIGINT or SIGTERM, and with role "all" its worker process.

    Raises:
        UserError: it, or its worker, cannot start.
    """
    files.check_output("directory", settings.directory)
    logs.prepare()
    _run_api(settings)


def _run_api(settings: Settings) -> None:
    studio = Studio.open(settings)
    try:
        note = _check_keys(settings, studio)
        listener = _listen(settings)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"serving at http://{shown}:{port}/v1 ({note})", flush=True)
        config = uvicorn.Config(
            Api(studio).app(),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=10,
        )
        # uvicorn raises the signals that it caught once more when it has ended.
        signal.signal(signal.SIGTERM, _ignored)
        failed = threading.Event()
        supervised = settings.role == "all"
        with _supervised(settings, failed) if supervised else contextlib.nullcontext():
            uvicorn.Server(config).run(sockets=[listener])
        if failed.is_set():
            raise UserError("the worker cannot start, for the reason above; mend it")
    finally:
        studio.close()


def _ignored(*_: object) -> None:
    """A signal handler that does nothing. It is used because the worker would inherit SIG_IGN."""


def _check_keys(settings: Settings, studio: Studio) -> str:
    """Returns, as text, who may use the server.

    Raises:
        UserError: no key exists, and other machines could reach the server.
    """
    if accounts.has_keys(studio.store):
        return "with a key"
    if settings.loopback:
        return "no key exists, so every program of this machine may use it"
    raise UserError(
        f"host={settings.host}: other machines could use the server, and no key exists; make one "
        "first with --new_key=NAME, or leave out the host",
        field="host",
    )


def _listen(settings: Settings) -> socket.socket:
    """Returns a socket that listens at host and port of the settings. Raises UserError if it
    cannot.
    """
    place = f"{settings.host}:{settings.port}"
    with contextlib.ExitStack() as stack:
        try:
            found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, address = found[0]
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"cannot listen on {place}: {reason}; give another port or host", field="port"
            ) from None
        stack.pop_all()
    return listener


@contextlib.contextmanager
def _supervised(settings: Settings, failed: threading.Event) -> Iterator[None]:
    """Context manager: keeps a worker process running, and starts it again if it dies.

    If the worker refuses its settings (status 2), `failed` is set and this process gets SIGTERM.
    """
    stop = threading.Event()
    holder: list[subprocess.Popen[Any]] = []
    thread = threading.Thread(target=_supervise, args=(settings, stop, holder, failed), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        for process in holder:
            process.terminate()
        thread.join(END_SECONDS)
        for process in holder:
            process.kill()


def _supervise(
    settings: Settings,
    stop: threading.Event,
    holder: list[subprocess.Popen[Any]],
    failed: threading.Event,
) -> None:
    while not stop.is_set():
        process = start_worker(settings)
        holder[:] = [process]
        status = process.wait()
        if stop.is_set():
            return
        if status == 2:  # its settings are wrong, and it has said how
            failed.set()
            os.kill(os.getpid(), signal.SIGTERM)
            return
        log.error("the worker ended with status %d; it is started again", status)
        stop.wait(AGAIN_SECONDS)


def start_worker(settings: Settings) -> subprocess.Popen[Any]:
    """Starts a worker process, which ends when its stdin is closed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once; its status will say so
        process.stdin.write(json.dumps(settings.to_dict()) + "\n")
        process.stdin.flush()
    return process
