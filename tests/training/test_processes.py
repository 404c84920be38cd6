"""Several processes train as one: what one loses, all lose together, and together they continue; on
other devices and by another number too.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_fit import losses
from test_train_command import ROOT, arrays, command, latents  # noqa: F401
from test_train_command import losses as train_losses

from sora_jax.errors import UserError
from sora_jax.parallel import processes

HERE = Path(__file__).parent
# relative, of losses: the order of sums is another on other devices; measured 6e-7
TOLERANCE = 1e-5

PLAIN = ["--config.optim.muon=false"]  # half the time of compiling


def start(command, devices=1, **environment):
    """A command on so many fake devices, or one for each process of a group."""
    flags = (
        os.environ.get("XLA_FLAGS", ""),
        f"--xla_force_host_platform_device_count={devices}",
        "--xla_cpu_multi_thread_eigen=false",
    )
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": " ".join(flags),
        "PYTHONPATH": f"{ROOT}:{HERE}",
        **environment,
    }
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pair(command, devices=2):
    """The same command by two processes, gloo between them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    group = [f"--coordinator=localhost:{port}", "--num_processes=2"]
    return [
        start(
            [*command, *group, f"--process_id={i}"],
            devices,
            JAX_CPU_COLLECTIVES_IMPLEMENTATION="gloo",
        )
        for i in range(2)
    ]


def toy(workdir, steps=24, **flags):
    return [
        sys.executable,
        str(HERE / "toy_mesh.py"),
        f"--workdir={workdir}",
        f"--steps={steps}",
        *(f"--{k}={v}" for k, v in flags.items()),
    ]


def ended(*running):
    """[(status, output and errors)] of processes, once all have ended."""
    return [
        (p.returncode, out + err)
        for p, (out, err) in [(p, p.communicate(timeout=600)) for p in running]
    ]


def when(reached, *running):
    deadline = time.monotonic() + 600
    while not reached() and all(p.poll() is None for p in running) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(p.poll() is None for p in running), ended(*running)


def same_losses(a, b, read=losses):
    a, b = read(a), read(b)
    assert a.keys() == b.keys() and sorted(a) == list(range(1, len(a) + 1))
    for step in a:
        np.testing.assert_allclose(a[step], b[step], rtol=TOLERANCE, err_msg=f"step {step}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The toy run on one device, never disturbed."""
    workdir = tmp_path_factory.mktemp("whole")
    ((status, said),) = ended(start(toy(workdir)))
    assert status == 0, said
    return workdir


@pytest.mark.slow
@pytest.mark.alone
def test_goes_on_on_other_devices(tmp_path, whole):
    """One device, then four that share the parameters, then one again: state and data go on where
    they were.
    """
    for devices, batches in ((1, 13), (4, 9), (1, 99)):
        ((status, said),) = ended(start(toy(tmp_path, batches=batches), devices))
        assert "Traceback" not in said
    assert status == 0 and "done 24" in said and "continuing from step 10" in said
    same_losses(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.alone
def test_sigterm_of_one_process_stops_all_at_one_step_and_one_alone_goes_on(tmp_path, whole):
    running = pair(toy(tmp_path, pause=0.5))
    when(lambda: len(losses(tmp_path)) >= 2, *running)
    running[1].send_signal(signal.SIGTERM)
    (first, said), (second, other) = ended(*running)
    assert first == second == 0 and "Traceback" not in said + other, said + other
    step = max(losses(tmp_path))
    assert 2 < step < 24 and all(f"stopped at step {step}, saved" in text for text in (said, other))
    assert [int(p.name) for p in (tmp_path / "checkpoints").iterdir()][-1:] == [step]
    ((status, said),) = ended(start(toy(tmp_path)))
    assert status == 0 and f"continuing from step {step}" in said
    same_losses(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.alone
def test_a_killed_process_ends_the_others_and_all_go_on(tmp_path, whole):
    running = pair(toy(tmp_path, pause=0.2))
    when(
        lambda: len(losses(tmp_path)) >= 12 and (tmp_path / "checkpoints" / "10").is_dir(), *running
    )
    running[1].kill()
    (first, said), (second, _) = ended(*running)
    assert (first, second) == (processes.LOST, -signal.SIGKILL), said
    assert (
        "another process was lost" in said
        and "given to every process, continues from step 10" in said
    )
    assert all(status == 0 for status, _ in ended(*pair(toy(tmp_path))))
    same_losses(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.alone
def test_what_one_process_refuses_ends_all(tmp_path):
    """The directory is in use: the first process finds out, and none trains."""
    from sora_jax.training.workdir import Workdir

    with Workdir(tmp_path, {"steps": 24}):
        (first, said), (second, other) = ended(*pair(toy(tmp_path)))
    assert (
        first == second == 2
        and "another process is training in" in said
        and "could not begin, and says why" in other
    )
    assert not list(tmp_path.glob("[!.]*"))


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.exhaustive
def test_two_processes_train_as_one(tmp_path, latents):  # noqa: F811
    """The real command, four devices between two processes, two of them to a copy of the model; all
    killed, and resumed.
    """
    one, two = tmp_path / "one", tmp_path / "two"
    ((status, said),) = ended(start(command(one, latents, *PLAIN)))
    assert status == 0, said
    asked = command(two, latents, *PLAIN, "--config.mesh.fsdp=2")
    running = pair(asked)
    when(lambda: len(train_losses(two)) >= 6, *running)
    for process in running:
        process.kill()
    ended(*running)
    (first, said), (second, other) = ended(*pair(asked))
    assert first == second == 0, said + other
    # the first alone speaks
    for words in ("continuing from step", "weights.safetensors", "s/step"):
        assert words in said and words not in other
    same_losses(one, two, train_losses)
    a, b = arrays(one / "weights.safetensors"), arrays(two / "weights.safetensors")
    # stored in 16 bits
    assert a.keys() == b.keys() and all(np.abs(a[name] - b[name]).max() < 2e-3 for name in a)


@pytest.mark.slow
@pytest.mark.alone
def test_two_processes_make_a_run_longer(tmp_path, latents):  # noqa: F811
    """Together they go back to the checkpoint before the decay; the second waits for the first to
    delete later ones.
    """
    wsd, longer, whole = (*PLAIN, "--config.optim.schedule=wsd"), tmp_path / "a", tmp_path / "b"
    said = ""
    for workdir, steps in ((longer, 5), (longer, 10), (whole, 10)):
        (first, said_here), (second, other) = ended(
            *pair(command(workdir, latents, *wsd, steps=steps), devices=1)
        )
        assert first == second == 0, said_here + other
        said += said_here
    assert "continuing from step 4" in said
    assert train_losses(longer) == train_losses(whole)
    assert sorted(train_losses(whole)) == list(range(1, 11))


CLUSTERS = ("SLURM_", "OMPI_", "KUBERNETES_", "TPU_")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((None, 2, None), "--num_processes and --process_id need --coordinator=HOST:PORT"),
        (("node7", 2, 0), "--coordinator=node7 is no address"),
        (
            ("node7:1234", 2, 2),
            r"needs --num_processes \(now 2\) and --process_id from 0 to one less \(now 2\)",
        ),
        (("node7:1234", None, 0), r"needs --num_processes \(now None\)"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(flags, said):
    with pytest.raises(UserError, match=said) as error:
        processes.join(*flags)
    assert "\n" not in str(error.value)


def test_auto_where_there_is_no_cluster_and_where_slurm_is(monkeypatch):
    """In processes of their own: one that has touched a device cannot join others."""
    program = "import jax\nfrom sora_jax.parallel import processes\nprocesses.join('auto')\n"
    program += "print(jax.process_count(), jax.distributed.is_initialized())"
    slurm = {
        "JOB_ID": str(os.getpid()),
        "STEP_NODELIST": "localhost",
        "NTASKS": "1",
        "PROCID": "0",
        "LOCALID": "0",
    }
    for name in [name for name in os.environ if name.startswith(CLUSTERS)]:
        monkeypatch.delenv(name)
    alone = start([sys.executable, "-c", program])
    one_task = start(
        [sys.executable, "-c", program], **{f"SLURM_{name}": value for name, value in slurm.items()}
    )
    (none, said), (found, counted) = ended(alone, one_task)
    assert (
        none == 1
        and "UserError: --coordinator=auto: no SLURM, Kubernetes, TPU pod or Open MPI says who "
        "takes part"
        in said
    )
    assert found == 0 and counted.startswith("1 True")
