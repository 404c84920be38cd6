"""A worker survives what it runs."""

import os
import signal
import time

import pytest

from sora_jax.errors import UserError
from sora_jax.media.decoded import EndOfFile
from sora_jax.media.worker import Worker


@pytest.fixture(scope="module")
def worker():
    with Worker(seconds=20) as worker:
        yield worker


def test_results_and_errors_come_back(worker):
    first = worker.call(os.getpid)
    assert first != os.getpid() and worker.call(os.getpid) == first
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        worker.call(divmod, 1, 0)
    with pytest.raises(UserError, match=r"cannot read nothing\.mp4"):
        from sora_jax.media import read_video

        worker.call(read_video, "nothing.mp4")
    assert worker.call(os.getpid) == first
    error = EndOfFile("past the end", field="start")
    assert isinstance(error, UserError)


def test_what_a_function_prints_is_no_answer(worker, capfd):
    assert worker.call(os.write, 1, b"printed\n") == 8
    assert worker.call(abs, -1) == 1


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_crash_is_named_and_another_child_takes_over(worker, name):
    with pytest.raises(UserError, match=name):
        worker.call(signal.raise_signal, signal.Signals[name])
    assert worker.call(abs, -1) == 1


def test_an_exit_is_named(worker):
    with pytest.raises(UserError, match="status 3"):
        worker.call(os._exit, 3)


def test_a_call_that_hangs_is_given_up():
    with Worker(seconds=1) as worker:
        began = time.monotonic()
        with pytest.raises(UserError, match="longer than 1 s"):
            worker.call(time.sleep, 60)
        assert time.monotonic() - began < 30


def test_memory_is_limited(worker):
    with pytest.raises(RuntimeError, match="MemoryError"):
        worker.call(bytearray, 5 << 30)


def test_a_child_ends_with_its_worker():
    with Worker() as worker:
        child = worker.call(os.getpid)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
