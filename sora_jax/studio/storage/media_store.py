"""The media store: files under keys such as clips/video_1/a/video.mp4, in one folder.

The API and the workers of a server see the same folder; a `remote_media.RemoteStore` keeps the
files in an object store instead. A key is checked before it becomes a path, so that no key leads
out of the folder. A file appears whole or not at all (`sora_jax.files`).
"""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sora_jax import files
from sora_jax.errors import UserError

KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*){0,5}")
CHUNK = 1 << 20  # bytes copied at a time


class MediaStore:
    """A folder of files by key."""

    def __init__(self, folder: Path):
        """Opens the store in `folder`, which is created if it does not exist.

        Raises:
            UserError: the folder cannot be written.
        """
        self.folder = files.check_output("media", str(folder)).resolve()

    def path(self, key: str) -> Path:
        """Returns the path of a key. The file need not exist.

        Raises:
            UserError: the key could lead out of the folder.
        """
        path = self.folder / key
        if not KEY.fullmatch(key) or ".." in key or not path.resolve().is_relative_to(self.folder):
            raise UserError(f"{key!r} is no key of a file", code="invalid_key")
        return path

    def write(self, key: str, source: bytes | BinaryIO) -> Path:
        """Writes the file of a key, atomically, and returns its path. `source` is its bytes, or an
        open file that is read to its end.
        """
        path = self.path(key)
        with files.replacing(path) as partial, partial.open("wb") as file:
            if isinstance(source, bytes):
                file.write(source)
            else:
                shutil.copyfileobj(source, file, CHUNK)
        return path

    def send(self, prefix: str) -> None:
        """Makes files that were written at the path of a key, or below it, visible to all hosts.
        Call it after writing them. In a shared folder there is nothing to do.
        """

    def fetch(self, prefix: str) -> None:
        """Makes the files below a key, which other hosts wrote, present at their local paths. In a
        shared folder there is nothing to do.
        """

    def delete(self, prefix: str) -> None:
        """Deletes a file or a folder of files, if it exists."""
        path = self.path(prefix)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def old(self, prefix: str, seconds: float) -> Iterator[str]:
        """Yields the keys two levels below a prefix that were not changed for `seconds`."""
        for path in sorted(self.path(prefix).glob("*/*")):
            try:
                age = time.time() - path.stat().st_mtime
            except FileNotFoundError:  # deleted by another process
                continue
            if age > seconds:
                yield path.relative_to(self.folder).as_posix()
