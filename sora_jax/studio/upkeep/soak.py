"""Soak tests of a server: processes killed under load, many clients, memory over many jobs.

`Cluster` runs two "hosts" on this machine. Each has a folder of its own, an API process and a
worker process; they share one PostgreSQL database and one media store. `experiments.studio_soak` is
the command.
"""

import collections
import contextlib
import dataclasses
import http.client
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from sora_jax.errors import UserError
from sora_jax.studio.database import accounts
from sora_jax.studio.database.store import Store

COMMAND = (sys.executable, "-m", "experiments.serve")
START_SECONDS, JOB_SECONDS = 600.0, 3_600.0
PROMPT = "a large red ball is dropped and bounces twice"
HOSTS = ("a", "b")
KINDS = ("api", "worker", "postgres")
WARM = 0.2  # fraction of the jobs after which memory is first measured


class Postgres:
    """A private PostgreSQL server in a temporary folder, reached by a Unix socket. It does not run
    as root, so root starts it as the user `postgres`.
    """

    def __init__(self) -> None:
        """Makes and starts the database.

        Raises:
            UserError: PostgreSQL is not installed, or does not start.
        """
        if not shutil.which("initdb"):
            raise UserError("PostgreSQL is not installed; install initdb, pg_ctl and postgres")
        self.folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path is short
        self._as: tuple[str, ...] = ()
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
            self._as = ("runuser", "-u", "postgres", "--")
        self.data, self.url = (
            str(self.folder / "data"),
            f"postgresql://studio@/postgres?host={self.folder}",
        )
        self._run("initdb", "-D", self.data, "-U", "studio", "-A", "trust")
        self.start()

    def start(self) -> None:
        """Starts the database, and waits until it answers."""
        options = f"-c listen_addresses='' -k {self.folder} -c max_connections=200"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self.data, "-o", options, "-l", log, "-w", "-t", "120", "start")

    def kill(self) -> None:
        """Sends SIGKILL to all processes of the database, and starts it again."""
        pid = int((Path(self.data) / "postmaster.pid").read_text().split()[0])
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
        )
        for one in (pid, *map(int, listed.stdout.split())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        for _ in range(60):
            time.sleep(0.5)
            with contextlib.suppress(UserError):  # its shared memory is not free yet
                return self.start()
        raise UserError("PostgreSQL does not start again")

    def close(self) -> None:
        """Stops the database and deletes its folder."""
        with contextlib.suppress(UserError):
            self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, *command: str) -> None:
        done = subprocess.run([*self._as, *command], cwd="/", capture_output=True, text=True)
        if done.returncode:
            text = " ".join((done.stdout + done.stderr).split())[-300:]
            raise UserError(f"{command[0]} failed: {text}")


class Cluster:
    """Two hosts over one database and one media store."""

    def __init__(self, folder: Path, flags: Sequence[str]):
        """Starts all processes, and waits until they are ready.

        Args:
            folder: folder for the hosts, the media and the logs.
            flags: flags of `experiments.serve`, such as --weights=PATH and --steps=4.
        """
        self.folder, self.flags = folder, flags
        self.postgres = Postgres()
        self.media = folder / "media"
        self.store = Store(self.postgres.url)
        self.key = accounts.new_key(self.store, "soak")
        self.ports: dict[str, int] = {}
        self.processes: dict[tuple[str, str], subprocess.Popen[str]] = {}
        self._log: IO[str] = (folder / "log").open("w")
        for host, kind in itertools.product(HOSTS, KINDS[:2]):
            self.start(host, kind)
        wait_for(self.ready, START_SECONDS)

    def start(self, host: str, kind: str) -> None:
        """Starts the API process or the worker of a host; `kind` is "api" or "worker"."""
        flags = [
            f"--role={kind}", f"--directory={self.folder / host}", f"--media={self.media}",
            f"--database={self.postgres.url}", f"--port={self.ports.get(host, 0)}",
            "--queue=100000", "--requests_per_minute=10000000", *self.flags,
        ]  # fmt: skip
        out = subprocess.PIPE if kind == "api" else self._log
        process = subprocess.Popen([*COMMAND, *flags], stdout=out, stderr=self._log, text=True)
        self.processes[host, kind] = process
        if process.stdout is not None:
            line = process.stdout.readline()
            if "serving at" not in line:
                raise UserError(f"a server does not start; see {self._log.name}")
            self.ports[host] = int(line.split("/v1")[0].rpartition(":")[2])

    def kill(self, kind: str, number: int) -> None:
        """Sends SIGKILL to a process of a kind, of the hosts by turns, and starts it again."""
        if kind == "postgres":
            return self.postgres.kill()
        host = HOSTS[number % len(HOSTS)]
        process = self.processes[host, kind]
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self.start(host, kind)

    def ready(self) -> bool:
        """Returns whether both workers have loaded their weights."""
        status, body = self.request("GET", "/healthz", HOSTS[0])
        return status == 200 and json.loads(body)["workers"] >= len(HOSTS)

    def request(self, method: str, path: str, host: str, body: Any = None) -> tuple[int, bytes]:
        """Sends a request to a host, with `body` as JSON values. Returns the status and body of the
        response; status 0 if there was none.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[host], timeout=60)
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        text = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, text, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def create(self, host: str) -> str | None:
        """Asks a host for a clip of PROMPT. Returns the id of the job; None if it was refused."""
        status, body = self.request("POST", "/v1/videos", host, {"prompt": PROMPT})
        return json.loads(body)["id"] if status == 200 else None

    def memory(self) -> dict[str, float]:
        """Returns the resident memory of each process in MiB, by names such as "api a"."""
        found = {}
        for (host, kind), process in self.processes.items():
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            found[f"{kind} {host}"] = pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
        return found

    def close(self) -> None:
        """Ends all processes."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self.store.close()
        self.postgres.close()
        self._log.close()


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Waits until a condition holds. Raises UserError if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise UserError(f"the servers were not ready after {seconds:g} s; see their logs")
        time.sleep(0.5)


def is_whole(content: bytes) -> bool:
    """Returns whether bytes are an mp4 file to its end: its boxes fill it, and it has a moov."""
    place, kinds = 0, set()
    while place + 8 <= len(content):
        size = int.from_bytes(content[place : place + 4])
        size = int.from_bytes(content[place + 8 : place + 16]) if size == 1 else size
        kinds.add(content[place + 4 : place + 8])
        if size < 8:
            return False
        place += size
    return place == len(content) and {b"ftyp", b"moov", b"mdat"} <= kinds


@dataclasses.dataclass
class Load:
    """Requests and downloads that go on while processes are killed.

    Attributes:
        cluster: the servers.
        accepted: ids of the accepted jobs.
        refused: number of requests that were not accepted.
        downloads: number of clips that were downloaded.
        broken: ids of jobs of which a part of a file was served as the whole.
        stop: set it to end `submit` and `download`.
    """

    cluster: Cluster
    accepted: list[str] = dataclasses.field(default_factory=list)
    refused: int = 0
    downloads: int = 0
    broken: list[str] = dataclasses.field(default_factory=list)
    stop: threading.Event = dataclasses.field(default_factory=threading.Event)

    def submit(self, every: float) -> None:
        """Asks for a clip every `every` seconds, the hosts by turns, until `stop` is set."""
        for host in itertools.cycle(HOSTS):
            job = self.cluster.create(host)
            if job is None:
                self.refused += 1
            else:
                self.accepted.append(job)
            if self.stop.wait(every):
                return

    def download(self) -> None:
        """Downloads the clips of finished jobs until `stop` is set. Notes a response of status 200
        that is not a whole file in `broken`.
        """
        for number in itertools.count():
            if self.stop.wait(0.2):
                return
            for job in self.accepted[10 * (number % (1 + len(self.accepted) // 10)) :][:10]:
                host = HOSTS[number % len(HOSTS)]
                status, content = self.cluster.request("GET", f"/v1/videos/{job}/content", host)
                if status == 200:
                    self.downloads += 1
                    if not is_whole(content):
                        self.broken.append(job)

    def ended(self) -> bool:
        """Returns whether every accepted job has ended."""
        return all(self.status(job) in ("completed", "failed") for job in self.accepted)

    def status(self, job: str) -> str:
        """Returns the status of a job, such as "completed"; "status N" for an error of HTTP."""
        status, body = self.cluster.request("GET", f"/v1/videos/{job}", HOSTS[0])
        return json.loads(body)["status"] if status == 200 else f"status {status}"


@contextlib.contextmanager
def running(load: Load, every: float) -> Iterator[None]:
    """Context manager: requests of `load`, one every `every` seconds, and downloads go on."""
    targets = ((load.submit, (every,)), (load.download, ()))
    threads = [threading.Thread(target=work, args=args, daemon=True) for work, args in targets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        load.stop.set()
        for thread in threads:
            thread.join(120)


def kills(cluster: Cluster, kind: str, times: int, every: float, between: float) -> dict[str, Any]:
    """Kills processes of a kind under load, and returns what became of the accepted jobs.

    Args:
        cluster: the servers.
        kind: the kind of process, one of KINDS.
        times: number of kills.
        every: seconds between two requests.
        between: seconds between two kills.

    Returns:
        Counts of kills, jobs, files and downloads by name, such as "lost".
    """
    load = Load(cluster)
    with running(load, every):
        for number in range(times):
            time.sleep(between)
            cluster.kill(kind, number)
        time.sleep(between)
    wait_for(cluster.ready, START_SECONDS)
    with contextlib.suppress(UserError):
        wait_for(load.ended, JOB_SECONDS)
    ends = collections.Counter(load.status(job) for job in load.accepted)
    folders = {job: len(list((cluster.media / "clips" / job).glob("*"))) for job in load.accepted}
    unserved = [
        job
        for job in load.accepted
        if not is_whole(cluster.request("GET", f"/v1/videos/{job}/content", HOSTS[1])[1])
    ]
    return {
        "kills": times,
        "accepted": len(load.accepted),
        "not_accepted": load.refused,
        "completed": ends["completed"],
        "lost": len(load.accepted) - ends["completed"],
        "without_a_whole_file": len(unserved),
        "downloads_under_kills": load.downloads,
        "half_files_served": len(load.broken),
        "left_by_killed_workers": sum(count - 1 for count in folders.values() if count > 1),
    }


def clients(cluster: Cluster, count: int, seconds: float) -> dict[str, Any]:
    """Measures how long GET takes while many clients list, poll and download, and workers generate.

    Args:
        cluster: the servers.
        count: number of clients; each sends a request about every second.
        seconds: time that they run.

    Returns:
        {"clients", "seconds", "requests", "errors": number, "milliseconds": {"p50", "p95", "p99"}}.
    """
    made = cluster.create(HOSTS[0]) or ""
    wait_for(lambda: Load(cluster).status(made) == "completed", JOB_SECONDS)
    paths = ("/v1/videos?limit=20", f"/v1/videos/{made}", f"/v1/videos/{made}/content")
    times: list[float] = []
    errors: collections.Counter[int] = collections.Counter()
    stop = threading.Event()

    def work(number: int) -> None:
        for i in itertools.count(number):
            started = time.perf_counter()
            status, _ = cluster.request("GET", paths[i % len(paths)], HOSTS[i % len(HOSTS)])
            times.append(time.perf_counter() - started)
            if status != 200:
                errors[status] += 1
            if stop.wait(1.0):
                return

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(count)]
    load = Load(cluster)
    with running(load, 5.0):
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join(120)
    p50, p95, p99 = (round(1e3 * float(np.percentile(times, p)), 1) for p in (50, 95, 99))
    return {
        "clients": count,
        "seconds": seconds,
        "requests": len(times),
        "errors": sum(errors.values()),
        "milliseconds": {"p50": p50, "p95": p95, "p99": p99},
    }


def memory(cluster: Cluster, count: int) -> dict[str, Any]:
    """Measures the growth of memory over `count` jobs.

    Returns:
        {"jobs": count, "mib_after_a_fifth", "mib": resident MiB by process, when a fifth of the
        jobs was done and at the end, "growth": relative growth between the two, by process}.
    """
    before: dict[str, float] = {}
    load = Load(cluster)
    for number in range(count):
        if (job := cluster.create(HOSTS[number % 2])) is not None:
            load.accepted.append(job)
        if number == int(WARM * count):
            wait_for(load.ended, JOB_SECONDS)
            before = cluster.memory()
    wait_for(load.ended, JOB_SECONDS)
    after = cluster.memory()
    growth = {name: round(after[name] / before[name] - 1, 4) for name in before}
    rounded = [{name: round(mib, 1) for name, mib in one.items()} for one in (before, after)]
    return {"jobs": count, "mib_after_a_fifth": rounded[0], "mib": rounded[1], "growth": growth}
