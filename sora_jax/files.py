"""Atomic file writes, and path checks before long-running work begins.

`replacing` is the only way to write a file, and `write` is its short form. `check_input` and
`check_output` check the flags of a command: without them a bad path would surface only after
minutes of loading and compiling.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sora_jax.errors import UserError


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`. It replaces `path` on success and is deleted on
    failure.

    The data is synced to disk before the rename, so that even a power cut leaves either the old
    file or the new one. Missing folders are created.

    Raises:
        UserError: the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose another folder or free "
            "some space"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes a file atomically, text as UTF-8; see `replacing`."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def read_lines(path: str | os.PathLike, what: str) -> list[str]:
    """Returns the non-empty lines of a UTF-8 text file, stripped. A byte-order mark is allowed.

    Args:
        path: the file.
        what: a noun for the content of a line, for error messages.
    Raises:
        UserError: the file is not text, or has only empty lines.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text; give a text file with one {what} to a line") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path} holds no {what}; write one to a line")
    return lines


def check_input(flag: str, path: str | None, remedy: str) -> None:
    """Raises UserError unless `path` is None or a readable file.

    Args:
        flag: name of the flag whose value is `path`.
        path: the file, or None.
        remedy: what to give instead, for the error message.
    """
    if path is None:
        return
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"cannot read --{flag}={path}: {reason}; give {remedy}") from None


def check_output(flag: str, path: str) -> Path:
    """Creates the folder `path` if needed and verifies with a temporary file that it is writable.

    Args:
        flag: name of the flag whose value is `path`.
        path: the folder.
    Returns:
        The folder.
    Raises:
        UserError: the folder cannot be created or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"trial")
    except OSError as error:
        raise UserError(
            f"cannot write into --{flag}={path}: {error.strerror}; choose another folder"
        ) from None
    return folder
