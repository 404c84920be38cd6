r"""Soak the studio: kill its processes under load, let many clients ask, watch its memory.

    python -m experiments.studio_soak --output=outputs/studio_soak.json
    python -m experiments.studio_soak --kills=2 --seconds=30 --jobs=20 --output=outputs/short.json

The studio is the HTTP server of experiments.serve. Two hosts, each an API and a worker process in a
folder of its own, share one PostgreSQL database, which is started for the test, and one media
store. First, APIs, workers and PostgreSQL get SIGKILL, --kills times each, while requests come in
and clips are downloaded. No accepted job may be lost, and no incomplete file served. Then --clients
clients list, poll and download for --seconds. Last, --jobs jobs run while memory is measured. The
exit status is 1 if a job was lost or an incomplete file served.
"""

import importlib
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from sora_jax import environment, files, studio
from sora_jax.cli import run_main
from sora_jax.errors import UserError

_KILLS = flags.DEFINE_integer("kills", 20, "Kills of each kind of process.", lower_bound=0)
_BETWEEN = flags.DEFINE_float("between", 15.0, "Seconds between two kills.", lower_bound=1.0)
_EVERY = flags.DEFINE_float("every", 3.0, "Seconds between two requests.", lower_bound=0.1)
_CLIENTS = flags.DEFINE_integer("clients", 50, "Clients that ask at once.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 600.0, "Seconds that they ask; 0: none.", lower_bound=0)
_JOBS = flags.DEFINE_integer("jobs", 1000, "Jobs over which memory is measured.", lower_bound=0)
_SERVE = flags.DEFINE_string("serve", "--steps=4", "Flags of experiments.serve, as one string.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write. Required.")


def main(_: Sequence[str]) -> None:
    studio.check_packages()
    if not _OUTPUT.value:
        raise UserError("no --output; give the JSON file to write, such as outputs/soak.json")
    soak = importlib.import_module("sora_jax.studio.upkeep.soak")
    result: dict[str, Any] = {"command": environment.command(), "environment": environment.record()}
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        cluster = soak.Cluster(Path(folder), shlex.split(_SERVE.value))
        try:
            for kind in soak.KINDS if _KILLS.value else ():
                figures = soak.kills(cluster, kind, _KILLS.value, _EVERY.value, _BETWEEN.value)
                result[f"kills of {kind}"] = figures
                print(kind, json.dumps(figures), flush=True)
            if _SECONDS.value:
                result["load"] = soak.clients(cluster, _CLIENTS.value, _SECONDS.value)
                print("load", json.dumps(result["load"]), flush=True)
            if _JOBS.value:
                result["memory"] = soak.memory(cluster, _JOBS.value)
                print("memory", json.dumps(result["memory"]), flush=True)
        finally:
            cluster.close()
    files.write(_OUTPUT.value, json.dumps(result, indent=1) + "\n")
    tables = [one for one in result.values() if isinstance(one, dict) and "lost" in one]
    sys.exit(int(any(one["lost"] or one["half_files_served"] for one in tables)))


if __name__ == "__main__":
    run_main(main)
