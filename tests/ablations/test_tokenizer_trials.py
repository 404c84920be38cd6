"""A sweep of tokenizers: planned, timed, trained."""

import json

import pytest

from sora_jax.ablations import dry_run, kinds, trial
from sora_jax.ablations.sweep import read_sweep
from sora_jax.ablations.trial import RECORD, Trial, folder_of
from sora_jax.errors import UserError

CONFIG = """
from ml_collections import ConfigDict

def get_config():
    blocks = {"encoder_fine": 0, "encoder_coarse": 0, "decoder_coarse": 1, "decoder_fine": 0}
    return ConfigDict({
        "kind": "video_tokenizer",
        "tokenizer": {"fine_width": 8, "coarse_width": 8, **blocks},
        "data": {"clips": 8, "height": 16, "width": 16, "seconds": 0.6},
        "train": {"steps": 2, "batch_size": 2, "log_every": 1},
        "validation": {"clips": 4},
    })
"""
SWEEP = '''"""Does a Haar transform help?"""

from sora_jax.ablations.sweep import Sweep, param

def get_sweep():
    return Sweep(
        config="tiny_tokenizer.py",
        trials=param("tokenizer.haar", {"Haar": True, "pixels": False}),
        always={"optim.warmup": 1},
        MORE
    )
'''


def planned(folder, more=""):
    (folder / "tiny_tokenizer.py").write_text(CONFIG)
    (folder / "haar.py").write_text(SWEEP.replace("MORE", more))
    return trial.plan(read_sweep(folder / "haar.py"))[0]


def test_arms_of_tokenizers(tmp_path):
    haar, pixels = planned(tmp_path)
    assert haar.fingerprint != pixels.fingerprint and haar.flops > pixels.flops > 0
    assert Trial.from_dict(json.loads(json.dumps(haar.to_dict()))).fingerprint == haar.fingerprint
    memory, seconds = dry_run.measured(haar.run)
    assert memory > 1e5 and seconds > 0
    with pytest.raises(UserError, match="suites score models"):
        planned(tmp_path, "suites=('facts',),")
    with pytest.raises(UserError, match="match tokenizers by steps"):
        planned(tmp_path, "match='width',")


@pytest.mark.slow
def test_a_tokenizer_is_trained_as_a_trial(tmp_path):
    haar, _ = planned(tmp_path)
    trial.prepare(haar, tmp_path)
    trial.run_trial(haar, tmp_path)
    record = json.loads((folder_of(haar, tmp_path) / RECORD).read_text())
    assert set(record["curves"]) == set(kinds.measures(haar.run))
    curve = record["curves"]["val/loss"]
    assert [step for step, _ in curve] == [1, 2] and curve[-1][1] > 0 < record["parameters"]
