"""A fast digest of a set of files, which tells a run whether its data have changed."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from sora_jax.errors import UserError

HEAD = 1 << 20  # bytes of each file that the digest covers


def digest(folder: str | os.PathLike, files: Iterable[str | os.PathLike]) -> str:
    """Hashes the names, sizes and first HEAD bytes of files below a folder.

    Modification times are left out, so copying a file does not change the digest. A change after
    the first HEAD bytes that keeps the size of a file is not noticed.

    Args:
        folder: the folder to which the hashed names are relative.
        files: the files to hash, below the folder, in any order.

    Returns:
        The first 12 hex digits of a SHA-256.

    Raises:
        UserError: a file cannot be read.
    """
    folder, sha = Path(folder), hashlib.sha256()
    names = (Path(file).relative_to(folder).as_posix() for file in files)
    for name in sorted(names, key=os.fsencode):
        try:
            with (folder / name).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                sha.update(os.fsencode(name) + f":{size};".encode())
                sha.update(file.read(HEAD))
        except OSError as error:
            raise UserError(
                f"cannot read {folder / name}: {error.strerror or error}; make it readable"
            ) from error
    return sha.hexdigest()[:12]
