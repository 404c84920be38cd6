"""Reads text files that users write: one rule for prompts, captions, storyboards and JSON."""

import codecs
import os
from pathlib import Path

from sora_jax.errors import UserError

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: str | os.PathLike) -> str:
    r"""Returns the text of a file, with every line end as "\n".

    The encoding is UTF-8, with or without a byte-order mark, or UTF-16 with one.

    Raises:
        UserError: the file cannot be read, is in another encoding, or holds a NUL character.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}; give a text file", code="not_found"
        ) from None
    try:
        text = data.decode("utf-16" if data.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not text in UTF-8 (byte {error.start}: {error.reason}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise UserError(f"{path} is not text: it holds a NUL character; save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")
