"""A studio with a tiny model of random weights: every part is real, and nothing it makes means
anything. Requests go to the application itself, without a socket.
"""

import importlib.util

import pytest

# The packages of the extra `studio`; httpx is the client.
NEEDED = ("starlette", "uvicorn", "sqlalchemy", "python_multipart", "httpx")
if any(importlib.util.find_spec(name) is None for name in NEEDED):
    collect_ignore_glob = ["test_*.py"]
else:
    from studio_parts import Bench, save_weights

    from sora_jax.pipelines.load import load_pipeline

    @pytest.fixture(scope="session")
    def weights_files(tmp_path_factory):
        """Fields of `Settings` with the paths of tiny weights."""
        return save_weights(tmp_path_factory.mktemp("weights"))

    @pytest.fixture(scope="session")
    def pipeline(weights_files):
        return load_pipeline(*weights_files.values())

    @pytest.fixture
    def bench(tmp_path, pipeline, weights_files):
        """An application and a worker over one new database."""
        with Bench(tmp_path, pipeline, weights_files) as made:
            yield made

    @pytest.fixture(scope="module")
    def shared(tmp_path_factory, pipeline, weights_files):
        """The same for tests that only read, with one finished clip, `shared.clip`."""
        with Bench(tmp_path_factory.mktemp("studio"), pipeline, weights_files) as made:
            made.clip = made.finished(made.create(seed=1))
            yield made
