"""Backups: one tar file with the database and the media, taken while the server runs.

The database is copied before the files, so every file that a copied row names is in the backup,
unless it was deleted in between. To restore, unpack the file into a new folder and start a server
there; a PostgreSQL database is restored from `studio.pgdump` by pg_restore. A media store behind a
URL is not in the backup.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from pathlib import Path

from sqlalchemy.engine import make_url

from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.studio.database.store import Store
from sora_jax.studio.settings import Settings


def write(settings: Settings, path: str | os.PathLike) -> int:
    """Writes a backup of a server and returns the number of its files.

    Args:
        settings: settings of the server.
        path: the tar file, which appears whole or not at all.

    Raises:
        UserError: the database cannot be opened or copied, or the file cannot be written.
    """
    media, count = settings.media_folder, 1
    stored = [] if settings.media_url else media.rglob("*")
    with tempfile.TemporaryDirectory() as folder, files.replacing(path) as partial:
        database = _database(settings, Path(folder))
        with tarfile.open(partial, "w") as tar:
            tar.add(database, database.name)
            for file in sorted(one for one in stored if one.is_file()):
                if file.name.startswith("."):  # a file that is being written
                    continue
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    tar.add(file, f"media/{file.relative_to(media).as_posix()}")
                    count += 1
    return count


def _database(settings: Settings, folder: Path) -> Path:
    """Copies the database into a folder and returns the path of the copy."""
    store = Store(settings.database_url)
    store.close()
    url = make_url(settings.database_url)
    if not store.is_postgres:
        target = folder / "studio.sqlite"
        with (
            contextlib.closing(sqlite3.connect(str(url.database))) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        return target
    program, target = shutil.which("pg_dump"), folder / "studio.pgdump"
    if program is None:
        raise UserError(
            "a backup of PostgreSQL needs pg_dump; install PostgreSQL's client programs"
        )
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = [program, "--format=custom", f"--file={target}", f"--dbname={plain}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split())[:300]
        raise UserError(f"pg_dump cannot copy the database: {reason}", field="backup")
    return target
