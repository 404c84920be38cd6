"""A media store in an object store or any other file system that `fsspec` opens by a URL.

Files are written into a local folder first and then sent. A file that another process sent is
fetched into that folder at its first use. A key is never written twice with different contents, so
a fetched file stays valid. A fetched file gets its final name when it is complete, and a row of the
database names a sent file only after it was sent; so a transfer that was cut off does no harm.
"""

import contextlib
import importlib
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.studio.settings import Settings
from sora_jax.studio.storage.media_store import MediaStore

# Names under which file systems of `fsspec` give the time when a file was changed.
TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")


def open_media(settings: Settings) -> MediaStore:
    """Returns the media store of a server.

    Raises:
        UserError: it cannot be opened.
    """
    if settings.media_url is None:
        return MediaStore(settings.media_folder)
    return RemoteStore(settings.media_url, Path(settings.directory).absolute() / "media")


class RemoteStore(MediaStore):
    """Files by key below a URL, with a local folder as cache."""

    def __init__(self, url: str, folder: Path):
        """Opens the store.

        Args:
            url: URL of the folder of all files, such as s3://bucket/studio.
            folder: local folder, the cache.

        Raises:
            UserError: no file system is installed for the URL, or it cannot be reached.
        """
        super().__init__(folder)
        try:
            fsspec: Any = importlib.import_module("fsspec")
            self._system, root = fsspec.core.url_to_fs(url)
            self._root = root.rstrip("/")
            self._system.makedirs(self._root, exist_ok=True)
        except Exception as error:  # each file system has its own
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"media={url}: {reason}; give a folder, or a URL that fsspec opens", field="media"
            ) from None

    def path(self, key: str) -> Path:
        """Returns the local path of a key; its file is fetched if another process sent it."""
        path = super().path(key)
        if not path.exists() and self._system.isfile(self._remote(key)):
            self._get(self._remote(key), path)
        return path

    def fetch(self, prefix: str) -> None:
        """Fetches all files below a key that are not here yet."""
        for remote in self._system.find(self._remote(prefix)):
            path = super().path(remote[len(self._root) :].lstrip("/"))
            if not path.exists():
                self._get(remote, path)

    def send(self, prefix: str) -> None:
        """Sends the file of a key, or all files below it."""
        path = super().path(prefix)
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        for one in found:
            if one.is_file() and not one.name.startswith("."):
                remote = self._remote(one.relative_to(self.folder).as_posix())
                with _told(remote):
                    self._system.makedirs(remote.rpartition("/")[0], exist_ok=True)
                    self._system.put_file(str(one), remote)

    def write(self, key: str, source: bytes | BinaryIO) -> Path:
        """Writes the file of a key, sends it, and returns its local path."""
        path = super().write(key, source)
        self.send(key)
        return path

    def delete(self, prefix: str) -> None:
        """Deletes a file or a folder of files, in the cache and behind the URL."""
        super().delete(prefix)
        remote = self._remote(prefix)
        with contextlib.suppress(FileNotFoundError):
            self._system.invalidate_cache()
            if self._system.exists(remote):
                self._system.rm(remote, recursive=True)

    def old(self, prefix: str, seconds: float) -> Iterator[str]:
        """Yields the keys two levels below a prefix of which no file was changed for `seconds`."""
        self._system.invalidate_cache()
        newest: dict[str, float] = {}
        for remote, about in self._system.find(self._remote(prefix), detail=True).items():
            parts = remote[len(self._root) :].lstrip("/").split("/")
            key = "/".join(parts[: prefix.count("/") + 3])
            newest[key] = max(newest.get(key, 0.0), _changed(about))
        for key, changed in sorted(newest.items()):
            if time.time() - changed > seconds:
                yield key

    def _remote(self, key: str) -> str:
        super().path(key)  # checks it
        return f"{self._root}/{key}"

    def _get(self, remote: str, path: Path) -> None:
        with files.replacing(path) as partial, _told(remote):
            self._system.get_file(remote, str(partial))


@contextlib.contextmanager
def _told(remote: str) -> Iterator[None]:
    """Context manager: turns an error of the file system at `remote` into a UserError."""
    try:
        yield
    except Exception as error:  # each file system has its own
        raise UserError(f"the media store fails at {remote}: {error}", code="storage") from None


def _changed(about: dict[str, Any]) -> float:
    """Returns when a file was changed, in seconds since 1970; the present time if its file system
    does not say. `about` is what the file system states of the file.
    """
    for name in TIMES:
        value = about.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return time.time()
