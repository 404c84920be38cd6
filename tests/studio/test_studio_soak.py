"""The soak of the studio, in short: two kills of each kind, and clients beside two workers."""

import shutil

import pytest
from studio_parts import save_weights

from sora_jax.studio.upkeep import soak

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(not shutil.which("initdb"), reason="PostgreSQL is not installed"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    files = save_weights(tmp_path_factory.mktemp("weights"))
    flags = [f"--{name}={value}" for name, value in files.items()]
    made = soak.Cluster(tmp_path_factory.mktemp("hosts"), [*flags, "--steps=2"])
    yield made
    made.close()


@pytest.mark.parametrize("kind", soak.KINDS)
def test_two_kills(cluster, kind):
    """No accepted job is lost, each has one clip, and no half file is served."""
    found = soak.kills(cluster, kind, 2, 0.5, 3.0)
    assert found["accepted"] >= 5 and found["completed"] == found["accepted"], found
    assert found["lost"] == found["without_a_whole_file"] == found["half_files_served"] == 0, found


def test_clients_beside_workers(cluster):
    """No GET fails. How long they take depends on the machine, and is measured by the command."""
    found = soak.clients(cluster, 20, 30.0)
    assert found["requests"] >= 100 and found["errors"] == 0, found


def test_memory(cluster):
    found = soak.memory(cluster, 10)
    assert found["jobs"] == 10 and len(found["growth"]) == 4, found
    assert max(found["growth"].values()) < 0.5, found


def test_a_half_file_is_seen():
    box = b"\0\0\0\x08"
    whole = box + b"ftyp" + box + b"moov" + b"\0\0\0\x0cmdat1234"
    assert soak.is_whole(whole)
    for half in (whole[:-1], whole[:16], b"", b"\0" * 40, whole[8:]):
        assert not soak.is_whole(half)
