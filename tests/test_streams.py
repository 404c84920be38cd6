"""Commands under terminals, disks and machines of every kind: one line, never a traceback."""

import os
import subprocess
import sys

import pytest

from sora_jax import cli

# Prints a prompt with an emoji, and a file name that is not UTF-8, on both streams.
PRINTS = r"""
import os, sys
from sora_jax.cli import run_main
def main(_):
    for stream in (sys.stdout, sys.stderr):
        print("a red ball \U0001f600 größe", os.fsdecode(b"caf\xe9"), file=stream)
    open(sys.argv[0] + ".done", "w").close()
run_main(main)
"""


@pytest.fixture
def command(tmp_path):
    """Runs PRINTS in a shell with a redirection; returns the process, and whether it got to its
    end.
    """
    (tmp_path / "main.py").write_text(PRINTS, encoding="utf-8")

    def run(shell="", **environment):
        done = subprocess.run(
            f"{sys.executable} {tmp_path}/main.py {shell}",
            shell=True,
            capture_output=True,
            env={**os.environ, **environment},
            executable="/bin/bash",
        )
        assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr
        return done, (tmp_path / "main.py.done").exists()

    return run


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"PYTHONIOENCODING": "ascii"}, b"a red ball \\U0001f600 gr\\xf6\\xdfe caf\\udce9\n"),
        ({"PYTHONIOENCODING": "latin-1"}, b"a red ball \\U0001f600 gr\xf6\xdfe caf\\udce9\n"),
        ({"PYTHONIOENCODING": "cp1252"}, b"a red ball \\U0001f600 gr\xf6\xdfe caf\\udce9\n"),
        (
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            b"a red ball \\U0001f600 gr\\xf6\\xdfe caf\\udce9\n",
        ),
        (
            {"PYTHONIOENCODING": "utf-8"},
            "a red ball \U0001f600 größe caf\\udce9\n".encode(),
        ),
    ],
)
def test_what_a_stream_cannot_encode_is_escaped(command, environment, expected):
    done, ended = command(**environment)
    assert (done.returncode, ended) == (0, True)
    assert done.stdout == expected
    assert expected.strip() in done.stderr


@pytest.mark.parametrize("shell", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_matter(command, shell):
    done, ended = command(shell)
    assert (done.returncode, ended) == (0, True)


def test_a_full_disk_under_stdout_is_one_line(command):
    done, _ = command("> /dev/full", PYTHONIOENCODING="utf-8")
    last = done.stderr.decode().splitlines()[-1]
    assert done.returncode == 2
    assert last == (
        "error: cannot write the output: No space left on device; free some space, or write "
        "elsewhere"
    )


def script(tmp_path, body, *arguments, **environment):
    (tmp_path / "main.py").write_text(body, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(tmp_path / "main.py"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


DEVICES = """
from sora_jax.cli import run_main
def main(_):
    import jax
    jax.numpy.zeros(1)
run_main(main)
"""


@pytest.mark.parametrize("platform", ["cuda", "rocm", "nonsense", "nonsense,cpu"])
def test_an_absent_platform_is_one_line(tmp_path, platform):
    done = script(tmp_path, DEVICES, JAX_PLATFORMS=platform)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    assert f"JAX_PLATFORMS={platform}: JAX finds no such platform" in lines[0]
    assert "unset JAX_PLATFORMS or set it to cpu, or install the platform" in lines[0]


def test_other_failed_assertions_keep_their_traceback(tmp_path):
    body = "from sora_jax.cli import run_main\nimport jax\ndef main(_):\n    assert 1 > 2\n"
    done = script(tmp_path, body + "run_main(main)\n")
    assert done.returncode == 1 and "assert 1 > 2" in done.stderr


def test_an_absent_platform_is_a_user_error_in_python(tmp_path):
    body = "import sora_jax\ntry:\n    sora_jax.load_pipeline()\nexcept sora_jax.UserError as e:\n"
    done = script(tmp_path, body + "    print(e)\n", JAX_PLATFORMS="cuda")
    assert done.stdout.startswith("JAX_PLATFORMS=cuda: JAX finds no such platform"), done.stderr


CACHE = """
import os, pwd
def absent(_):
    raise KeyError("no such user")
pwd.getpwuid = absent
from sora_jax.compat import enable_compile_cache
import jax
print(enable_compile_cache(), enable_compile_cache(), jax.config.jax_compilation_cache_dir)
"""


def test_without_a_home_programs_are_not_kept_and_a_note_says_so(tmp_path):
    """A container under a user without a name."""
    environment = {"HOME": "", "XDG_CACHE_HOME": "", "JAX_COMPILATION_CACHE_DIR": ""}
    body = CACHE.replace("import os, pwd", "import os, pwd\nos.environ.pop('HOME')")
    done = script(tmp_path, body, **environment)
    assert done.stdout == "None None None\n", done.stderr
    assert done.stderr == (
        "note: there is no home folder, so compiled programs are not kept; set "
        "JAX_COMPILATION_CACHE_DIR\n"
    )
    given = environment | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert script(tmp_path, body, **given).stdout.startswith(f"{tmp_path}/cache/sora_jax/jax ")


@pytest.mark.parametrize("name", ["HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"])
def test_a_cache_that_cannot_be_written_is_left_out(tmp_path, name):
    (tmp_path / "file").write_text("no folder")
    environment = {"XDG_CACHE_HOME": "", "JAX_COMPILATION_CACHE_DIR": ""}
    done = script(tmp_path, CACHE, **environment | {name: str(tmp_path / "file")})
    assert done.stdout == "None None None\n", done.stderr
    assert "cannot be written, so compiled programs are not kept" in done.stderr


FLAGS = """
from absl import flags
from ml_collections import config_flags
from sora_jax.cli import run_main
C = config_flags.DEFINE_config_file("config")
P = flags.DEFINE_string("path", "", "a path")
G = flags.DEFINE_float("guidance_video", 1.0, "a number")
def main(_):
    print(P.value, G.value, C.value.model.depth if C.value else "", C.value and C.value.model.lr)
run_main(main)
"""
CONFIG = (
    "import ml_collections\ndef get_config():\n"
    "    return ml_collections.ConfigDict({'model': {'depth': 3, 'lr': 0.5}})\n"
)


@pytest.fixture
def flag_command(tmp_path):
    (tmp_path / "c.py").write_text(CONFIG)
    return lambda *flags: script(
        tmp_path, FLAGS, *(f.replace("DIR", str(tmp_path)) for f in flags), HOME=str(tmp_path)
    )


def test_former_names_work_with_a_note(flag_command):
    done = flag_command("--config=DIR/c.py", "--config.model.pairs=7", "--guidance_picture", "3")
    assert done.stdout.split() == ["3.0", "7", "0.5"], done.stderr
    assert sorted(done.stderr.splitlines()) == [
        "note: --config.model.pairs is called --config.model.depth now",
        "note: --guidance_picture is called --guidance_video now",
    ]
    assert set(cli.RENAMED) >= {"guidance_sound", "guidance_picture", "config.model.pairs"}


def test_a_path_below_home(flag_command, tmp_path):
    assert flag_command("--path=~/a b").stdout.startswith(f"{tmp_path}/a b 1.0")
    assert flag_command("--path=a~/b").stdout.startswith("a~/b ")
    assert flag_command("--config=~/c.py").stdout.split() == ["1.0", "3", "0.5"]


def test_a_file_of_flags_is_text_as_any_other(flag_command, tmp_path):
    lines = (
        "# flags of a run\r\n--config=DIR/c.py\r\n--config.model.pairs=7\r\n\r\n--path=größe\r\n"
    )
    text = lines.replace("DIR", str(tmp_path))
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "flags.txt").write_bytes(text.encode(encoding))
        done = flag_command("--flagfile=DIR/flags.txt")
        assert done.stdout.split() == ["größe", "1.0", "7", "0.5"], done.stderr
    # ml_collections itself opens the file too, in UTF-8 alone, where a command has a --config.
    argv = ["main", "--a", f"--flagfile={tmp_path}/flags.txt", "--b"]
    (tmp_path / "flags.txt").write_bytes("--path=größe\r\n".encode("utf-16"))
    assert cli._with_flag_files(argv) == ["main", "--a", "--path=größe", "--b"]
    (tmp_path / "flags.txt").write_text(f"--flagfile={tmp_path}/flags.txt\n")
    done = flag_command("--flagfile=DIR/flags.txt")
    assert done.returncode == 2 and "includes itself" in done.stderr


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--guidance_video=nan", "--guidance_video=nan is not a finite number; give one"),
        ("--guidance_video=-inf", "--guidance_video=-inf is not a finite number; give one"),
        ("--guidance_video=1e999", "--guidance_video=inf is not a finite number; give one"),
        ("--config.model.lr=nan", "--config.model.lr=nan is not a finite number; give one"),
        ("--config.model.lr=inf", "--config.model.lr=inf is not a finite number; give one"),
    ],
)
def test_numbers_and_files_that_cannot_be_are_one_line(flag_command, flag, words):
    done = flag_command("--config=DIR/c.py", flag)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and words in done.stderr
