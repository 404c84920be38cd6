"""What a user types becomes a dataclass, or one line that says why not."""

import dataclasses
import subprocess
import sys

import pytest

from sora_jax import config
from sora_jax.errors import UserError
from sora_jax.models.st_dit import STDiTConfig
from sora_jax.training.loop import TrainConfig


@dataclasses.dataclass(frozen=True)
class Inner:
    width: int = 8
    window: tuple[int, int, int] = (0, 2, 2)
    scales: tuple[float, ...] = ()
    name: str | None = None

    def __post_init__(self):
        if self.width < 0:
            raise ValueError(f"width={self.width} is negative")


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    lr: float = 1e-3
    flag: bool = False


def test_round_trip():
    outer = Outer(Inner(3, (1, 2, 3), (0.5, 1.0), "x"), 0.1, True)
    assert config.from_dict(Outer, config.to_dict(outer)) == outer
    assert (
        config.fingerprint(outer)
        == config.fingerprint(config.to_dict(outer))
        != config.fingerprint(Outer())
    )
    assert config.from_dict(Outer, {"lr": 1}) == Outer(lr=1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inner": {"widht": 3}}, r"unknown key config\.inner\.widht; did you mean 'width'\?"),
        ({"zzz": 3}, r"unknown key config\.zzz; known: flag, inner, lr"),
        ({"lr": "fast"}, r"config\.lr='fast' is not a float"),
        ({"flag": 1}, r"config\.flag=1 is not a bool"),
        ({"inner": {"width": True}}, "not an int"),
        ({"inner": {"width": 1.5}}, "not an int"),
        ({"inner": {"width": -1}}, r"config\.inner: width=-1 is negative"),
        ({"inner": {"window": [1, 2]}}, "has 2 values; it needs 3"),
        ({"inner": {"window": 3}}, "not a list"),
        ({"inner": {"name": 3}}, "not a str"),
        ({"inner": 3}, r"config\.inner is 3"),
    ],
)
def test_one_line_errors(values, message):
    with pytest.raises(UserError, match=message) as error:
        config.from_dict(Outer, values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (
            STDiTConfig,
            {"width": 190},
            r"config: width=190 .* heads=6 .* give for example width=192",
        ),
        (STDiTConfig, {"audio_width": 20}, "audio_width=20 .* even width"),
        (STDiTConfig, {"exchange_heads": 0}, "exchange_heads=0"),
        (STDiTConfig, {"text_width": 0}, "text_width=0 .* give for example text_width=8"),
        (STDiTConfig, {"patch": 0}, "patch=0; give at least 1"),
        (STDiTConfig, {"depth": 0}, "depth=0; give at least 1"),
        (STDiTConfig, {"vocabulary": 1}, "vocabulary=1; give at least 2"),
        (STDiTConfig, {"dtype": "float13"}, "dtype='float13'; use"),
        (STDiTConfig, {"mlp_ratio": -1.0}, "mlp_ratio=-1.0"),
        (STDiTConfig, {"window": [0, -2, 2]}, "window="),
        (TrainConfig, {"steps": 0}, "steps=0; give at least 1"),
        (TrainConfig, {"batch_size": 0}, "batch_size=0; give at least 1"),
        (TrainConfig, {"log_every": 0}, "log_every=0; give at least 1"),
        (TrainConfig, {"keep": 0}, "keep=0; give at least 1"),
        (TrainConfig, {"checkpoint_every": -1}, "checkpoint_every=-1; give 0 or more"),
        (
            TrainConfig,
            {"checkpoint_minutes": float("nan")},
            "checkpoint_minutes=nan is not a finite number",
        ),
        (TrainConfig, {"seed": -1}, "seed=-1"),
    ],
)
def test_settings_that_cannot_work(cls, values, message):
    with pytest.raises(UserError, match=message) as error:
        config.from_dict(cls, values)
    assert "\n" not in str(error.value)


def test_differences_name_keys():
    assert config.differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [
        "a.c (2, now 3)",
        "d (absent, now 4)",
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--config=CONFIG", "--config.model.dpth=3"],
            "unknown key model.dpth in --config; did you mean 'depth'?",
        ),
        (
            ["--config=CONFIG", "--config.modle.depth=3"],
            "unknown key modle.depth in --config; did you mean 'model'?",
        ),
        (
            ["--config=CONFIG", "--config.model.zzz=3"],
            "unknown key model.zzz in --config; --help lists them; the entries of a list",
        ),
        (["--config=CONFIG", "--config.model.depth=deep"], "'deep'"),
        (["--config=CONFIG", "--config.sets=()"], "--config.sets is empty; give a value"),
        (["--config=absent.py"], "--config=absent.py: no such file; give a file such as"),
        (["--config=cc.py"], "--config=cc.py: no such file; did you mean c.py?"),
        ([], "--config is missing"),
        (["--confg=CONFIG"], "Unknown command line flag 'confg'"),
        (["--config=CONFIG", "stray"], "unexpected argument 'stray'"),
    ],
)
def test_flags_end_with_one_line(tmp_path, flags, message):
    (tmp_path / "c.py").write_text(
        "import ml_collections\ndef get_config():\n    return "
        "ml_collections.ConfigDict({'model': {'depth': 3}, 'sets': ({},)})\n"
    )
    (tmp_path / "main.py").write_text(
        "from ml_collections import config_flags\nfrom sora_jax import config\nfrom "
        "sora_jax.cli import run_main\n"
        "C = config_flags.DEFINE_config_file('config')\nrun_main(lambda argv: "
        "print(config.from_flag(C)))\n"
    )
    flags = [f.replace("CONFIG", str(tmp_path / "c.py")) for f in flags]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py"), *flags],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("raised", "said"),
    [("KeyboardInterrupt('begin again')", "begin again"), ("KeyboardInterrupt", "stopped")],
)
def test_ctrl_c_ends_with_one_line(tmp_path, raised, said):
    (tmp_path / "main.py").write_text(
        f"from sora_jax.cli import run_main\ndef main(_):\n    raise {raised}\nrun_main(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "main.py"], capture_output=True, text=True, cwd=tmp_path, timeout=600
    )
    assert done.returncode == 130 and done.stderr == f"{said}\n"
