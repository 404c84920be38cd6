"""Parts that hang, crash or fail end by themselves; the others are done."""

import sys
import time
from pathlib import Path

import pytest

from benchmarks.watchdog import Part, supervise
from sora_jax.errors import UserError

CHILD = """
import os, sys, time
def stuck():
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
def mistake():
    print("error: no such family; give room", file=sys.stderr)
    sys.exit(2)
actions = {
    "good": lambda: print("result of good"), "fine": lambda: None, "stuck": stuck,
    "crash": lambda: os.kill(os.getpid(), 11), "mistake": mistake,
    "parent": lambda: (
        print(f"worker {__import__('subprocess').Popen(['sleep', '60']).pid}", flush=True),
        time.sleep(60),
    ),
}
for name in sys.argv[1:]:
    print(f"[part] {name}", flush=True)
    actions[name]()
"""


def run(tmp_path, *names, limit=20.0, seconds=20.0):
    def command(left, _):
        return [sys.executable, "-c", CHILD, *left]

    begun = time.monotonic()
    ended = supervise(command, [Part(n, limit) for n in names], seconds, tmp_path / "log")
    return ended, time.monotonic() - begun, (tmp_path / "log").read_text()


def is_running(process):
    """A process that has ended may stay as a zombie where nothing collects orphans."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_all_parts_are_done(tmp_path):
    ended, _, log = run(tmp_path, "good", "fine")
    assert ended == {"good": "done", "fine": "done"} and "result of good" in log


def test_a_crash_costs_its_own_part_only(tmp_path):
    ended, _, _ = run(tmp_path, "good", "crash", "fine")
    assert ended == {"good": "done", "crash": "died with status -11", "fine": "done"}


def test_a_part_that_hangs_is_killed_and_the_next_goes_on(tmp_path):
    ended, seconds, log = run(tmp_path, "stuck", "good", limit=1.5)
    assert (
        ended == {"stuck": "killed after 2 s", "good": "done"}
        or ended["stuck"] == "killed after 1 s"
    )
    assert ended["good"] == "done" and "result of good" in log and seconds < 8


def test_the_end_of_all_is_kept(tmp_path):
    ended, seconds, _ = run(tmp_path, "good", "stuck", "fine", seconds=2.0)
    assert (
        ended["good"] == "done"
        and ended["stuck"].startswith("killed")
        and ended["fine"] == "not begun"
    )
    assert seconds < 2.0 + 2.5


def test_a_users_mistake_begins_no_other_child(tmp_path, capsys):
    with pytest.raises(UserError, match=r"^no such family; give room$"):
        run(tmp_path, "mistake", "good")
    assert "result" not in (tmp_path / "log").read_text()
    assert "error" not in capsys.readouterr().out  # the command prints it on stderr


def test_workers_end_with_their_child(tmp_path):
    _, _, log = run(tmp_path, "parent", limit=2.0)
    worker = int(log.split("worker ")[1].split()[0])
    time.sleep(0.2)
    assert not is_running(worker)
