"""Atomic file writes, and path checks before long-running work begins.

`replacing` is the only way to write a file, and `write` is its short form. `check_input` and
`check_output` check the paths in a command's flags: without them a bad path would surface only
after minutes of loading and compiling. `locked` keeps two processes from writing one folder.

Names of files are bytes on disk. Python shows bytes that are not UTF-8 as surrogate characters,
which cannot be encoded again. `shown` therefore escapes them for text, and `write` for JSON.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sora_jax.errors import UserError
from sora_jax.text_files import read_text

# Error numbers of the disk (full, over quota, read-only, ...), which any write may raise.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
NAME_BYTES = 200  # of a file's name; file systems allow 255, and suffixes are added
_partials = itertools.count()  # numbers temporary files: threads may write to one path


def user_path(path: str | os.PathLike) -> Path:
    """Returns a path given by a user, with a leading ~ replaced by the home folder, if the user has
    one.
    """
    return Path(os.path.expanduser(os.fspath(path)))


def shown(path: str | os.PathLike) -> str:
    r"""Returns a path as text that any encoder takes: bytes that are not UTF-8 become \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def shortened(name: str, limit: int = NAME_BYTES) -> str:
    """Returns a file's name, cut to at most `limit` bytes (default NAME_BYTES). A name that is cut
    ends in a hash of the whole name.
    """
    data = os.fsencode(name)
    if len(data) <= limit:
        return name
    digest = hashlib.sha256(data).hexdigest()[:8]
    return f"{data[: limit - 9].decode('utf-8', 'ignore')}-{digest}"


@contextlib.contextmanager
def locked(folder: Path, work: str) -> Iterator[None]:
    """Context manager: keeps other processes from writing to a folder, by a lock on the folder
    itself.

    Args:
        folder: an existing folder.
        work: what this process does in it, such as "computing latents", for the error message.

    Raises:
        UserError: another process has locked it, or it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            place = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, place)
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:  # NFS locks no folder
                file = stack.enter_context((folder / ".lock").open("w", encoding="utf-8"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is {work} in {folder}; wait for it, or give another folder"
            ) from None
        except OSError as error:
            raise cannot_write(folder, error) from None
        yield


def disk_error(error: BaseException) -> OSError | None:
    """Returns an error of the disk (full, read-only, a quota, ...) as OSError; None for others.

    Libraries in C++ raise other types; those are recognised by the system's text in their message.
    """
    if isinstance(error, OSError):
        return error if error.errno in DISK else None
    found = [code for code in DISK if os.strerror(code) in str(error)]
    return OSError(found[0], os.strerror(found[0])) if found else None


def cannot_write(path: str | os.PathLike, error: OSError) -> UserError:
    """Returns the UserError for a path that cannot be written, with the system's reason."""
    reason, remedy = error.strerror or error, "choose another folder or free some space"
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        above = next((p for p in Path(path).parents if p.is_file()), path)
        reason, remedy = f"{shown(above)} is a file", "choose another folder"
    return UserError(f"cannot write {path}: {reason}; {remedy}", code="storage")


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Context manager: writes a file so that it appears whole or not at all.

    It yields a temporary path beside `path`, which replaces `path` on success and is deleted on
    failure. The data is synced to disk before the rename, so that even a power cut leaves either
    the old file or the new one. Missing folders are created. A link stays, and its target is
    replaced.

    Raises:
        UserError: the file cannot be written, or `path` is a folder or a device.
    """
    path = user_path(path)
    if os.path.islink(path):
        path = Path(os.path.realpath(path))
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "folder" if os.path.isdir(path) else "device"
        raise UserError(f"cannot write {path}: it is a {kind}; give the path of a file")
    number = f"{os.getpid()}-{next(_partials)}"
    partial = path.with_name(f".{shortened(path.name)}.{number}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from None
    except (RuntimeError, ValueError) as error:
        if (disk := disk_error(error)) is None:
            raise
        raise cannot_write(path, disk) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write(path: str | os.PathLike, content: str | bytes) -> None:
    r"""Writes content to the file `path` atomically, text as UTF-8: it appears whole or not at all.

    Surrogates, which stand for bytes of a name that are not UTF-8, become \uXXXX. In JSON, this
    escape reads back as the same name. Raises UserError if the file cannot be written.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with replacing(path) as partial:
        partial.write_bytes(data)


def read_lines(path: str | os.PathLike, what: str) -> list[str]:
    """Returns the non-empty lines of a text file (`text_files.read_text`), stripped.

    Args:
        path: the file.
        what: a noun for the content of a line, for error messages.

    Raises:
        UserError: the file is not text, or has only empty lines.
    """
    return [line for _, line in numbered_lines(path, what)]


def numbered_lines(path: str | os.PathLike, what: str) -> list[tuple[int, str]]:
    """Returns (number, line) of each non-empty line of a text file, stripped. Numbers count all
    lines of the file, from 1.

    The arguments and errors are those of `read_lines`.
    """
    text = read_text(user_path(path))
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if line]
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
        place = user_path(path)
        if place.is_fifo():  # opening a pipe waits for its writer, and takes what it holds
            return
        with place.open("rb"):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, FileNotFoundError):
            reason = "no such file"
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
    folder = user_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"trial")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, FileExistsError):
            reason = "it is a file"
        text = f"cannot write into {path}: {reason}; choose another folder"
        raise UserError(text, field=flag) from None
    return folder
