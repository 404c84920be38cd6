"""Counts of an API process and of the jobs table, in the text format of Prometheus."""

import collections
import threading

from sora_jax.studio.database import jobs, models
from sora_jax.studio.database.store import Store

STATUSES = (*jobs.UNFINISHED, "completed", "failed", "cancelled")


class Metrics:
    """The counts and durations of the HTTP requests of this process."""

    def __init__(self):
        self._requests: collections.Counter[tuple[str, str, int]] = collections.Counter()
        self._seconds: dict[tuple[str, str], float] = collections.defaultdict(float)
        self._lock = threading.Lock()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request.

        Args:
            method: method of HTTP, such as "GET".
            route: the path with its parameters in braces; "other" for an unknown one.
            status: status code of the response.
            seconds: time that the request took.
        """
        with self._lock:
            self._requests[method, route, status] += 1
            self._seconds[method, route] += seconds

    def text(self, store: Store) -> str:
        """Returns these counts, and those of jobs and ready workers in the database, as text."""
        with self._lock:
            requests, seconds = dict(self._requests), dict(self._seconds)
        found = jobs.counts(store)
        lines = [
            "# HELP sora_jax_jobs Jobs of the table by status.",
            "# TYPE sora_jax_jobs gauge",
            *(f'sora_jax_jobs{{status="{one}"}} {found.get(one, 0)}' for one in STATUSES),
            "# HELP sora_jax_workers_ready Workers with loaded weights.",
            "# TYPE sora_jax_workers_ready gauge",
            f"sora_jax_workers_ready {models.ready(store)}",
            "# HELP sora_jax_http_requests_total Requests of this API process.",
            "# TYPE sora_jax_http_requests_total counter",
        ]
        for (method, route, status), count in sorted(requests.items()):
            labels = f'method="{method}",route="{route}",status="{status}"'
            lines.append(f"sora_jax_http_requests_total{{{labels}}} {count}")
        lines.append("# HELP sora_jax_http_seconds_total Seconds that they took.")
        lines.append("# TYPE sora_jax_http_seconds_total counter")
        for (method, route), total in sorted(seconds.items()):
            labels = f'method="{method}",route="{route}"'
            lines.append(f"sora_jax_http_seconds_total{{{labels}}} {total:.6f}")
        return "\n".join(lines) + "\n"
