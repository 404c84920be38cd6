"""A measurement that was stopped goes on from the batches it has."""

import numpy as np
from absl import flags
from absl.testing import flagsaver

from experiments import evaluate
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.pipelines.generate import Request


def test_batches_that_are_there_are_not_made_again(pipeline, tmp_path):
    requests = [
        Request("a large red ball is dropped", seed=i, sampler=SamplerConfig(steps=2))
        for i in range(3)
    ]
    with flagsaver.flagsaver():
        flags.FLAGS(["evaluate", "--batch=2"])
        whole, _ = evaluate.make_clips(pipeline, requests, tmp_path)
        first, second = sorted(tmp_path.iterdir())
        stamp = first.stat().st_mtime_ns
        second.unlink()  # stopped while the second batch was made
        again, seconds = evaluate.make_clips(pipeline, requests, tmp_path)
    assert (
        sorted(tmp_path.iterdir()) == [first, second]
        and first.stat().st_mtime_ns == stamp
        and seconds > 0
    )
    assert len(whole) == len(again) == 3
    for one, other in zip(whole, again):
        assert all(np.array_equal(a, b) for a, b in zip(one, other))
    assert not np.array_equal(whole[0][0], whole[2][0])
