"""Statistics of samples, with a clock that the test winds."""

import numpy as np
import pytest

from benchmarks import timing


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Program:
    """A call takes `seconds`, all of it while it is waited for, and the first `warm_up` seconds
    more.
    """

    def __init__(self, clock, seconds, warm_up=0.0):
        self.clock, self.seconds, self.warm_up, self.sets, self.waits = (
            clock,
            seconds,
            warm_up,
            [],
            0,
        )
        self.pending = 0.0

    def start(self, i):
        self.sets.append(i)
        self.pending += self.seconds + self.warm_up
        self.warm_up = 0.0
        return i

    def wait(self, result):
        assert result == self.sets[-1]
        self.clock.now += self.pending
        self.pending, self.waits = 0.0, self.waits + 1


def test_samples_are_taken_in_turns():
    order = []
    samplers = {name: lambda r, name=name: order.append((name, r)) or 1.0 for name in "AB"}
    samples = timing.interleave(samplers, rounds=3)
    assert order == [("A", 0), ("B", 0), ("A", 1), ("B", 1), ("A", 2), ("B", 2)]
    assert samples == {"A": [1.0] * 3, "B": [1.0] * 3}


def test_rounds_end_with_the_time_but_never_too_few():
    clock = Clock()

    def sampler(_):
        clock.now += 1.0
        return 1.0

    assert len(timing.interleave({"A": sampler}, 30, seconds=12.5, clock=clock)["A"]) == 13
    assert (
        len(timing.interleave({"A": sampler}, 30, seconds=0.0, clock=clock)["A"])
        == timing.MIN_ROUNDS
    )


def test_a_sample_waits_once_and_uses_each_set_in_turn():
    clock = Clock()
    program = Program(clock, 0.25)
    assert timing.wall_sample(program, 4, 8, clock) == pytest.approx(0.25)
    assert program.sets == [8, 9, 10, 11] and program.waits == 1


def test_calls_of_a_sample_follow_the_warm_time():
    clock = Clock()
    assert timing.calls_per_sample(Program(clock, timing.MIN_SAMPLE / 7.5, warm_up=5.0), clock) == 8
    assert timing.calls_per_sample(Program(clock, 1.0), clock) == 1
    assert timing.calls_per_sample(Program(clock, 1e-9), clock) == timing.MAX_CALLS


def test_percentiles():
    assert timing.percentiles(np.arange(11.0)[::-1]) == pytest.approx((2.0, 5.0, 8.0))


def test_kernel_times_are_added_per_call():
    class Recorder:
        def _cupti_init(self):
            self.began = True

        def _cupti_get_timings(self, finalize):
            assert self.began and not finalize
            return [("norm", 2.0), ("dot", 1.0)] * 3

    clock = Clock()
    seconds, names = timing.kernel_sample(Recorder(), Program(clock, 1.0), 3, 0)
    assert seconds == pytest.approx(3e-3) and names == ["norm", "dot"]
