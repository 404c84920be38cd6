"""What a row says of its device and its commit."""

import subprocess

import pytest

from benchmarks import device
from kernels import target
from sora_jax import environment


@pytest.fixture
def no_git(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    monkeypatch.delenv("SORA_JAX_COMMIT", raising=False)
    environment.commit.cache_clear()
    yield
    environment.commit.cache_clear()


def test_ceilings_of_an_h100_are_listed(monkeypatch):
    measured = device.Ceilings(2.9e12, 700e12, "measured")
    monkeypatch.setattr(device, "measured_ceilings", lambda: measured)
    with target.assume(target.Target("gpu", "NVIDIA H100 80GB HBM3", 90)):
        found = device.ceilings()
    assert (found.bandwidth, found.flops) == (3.0e12, 798e12)
    assert found.measured == (2.9e12, 700e12)


def test_the_commit_is_named_without_a_checkout(no_git, monkeypatch):
    monkeypatch.setenv("SORA_JAX_COMMIT", "0123456789ab")
    assert environment.commit() == "0123456789ab"


def test_without_a_commit_the_sources_are_named(no_git, monkeypatch, tmp_path):
    for name, text in (("kernels/a.py", "1"), ("sora_jax/b.py", "2"), ("tests/c.py", "3")):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    first = environment.commit()
    assert first.startswith("tree-") and len(first) == len("tree-") + 12
    (tmp_path / "tests/c.py").write_text("4")
    environment.commit.cache_clear()
    assert environment.commit() == first
    (tmp_path / "sora_jax/b.py").write_text("5")
    environment.commit.cache_clear()
    assert environment.commit() != first
