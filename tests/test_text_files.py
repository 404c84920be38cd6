"""One rule for all text that users write: UTF-8, or UTF-16 with a byte-order mark."""

import pytest

from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.text_files import read_text

TEXT = "a large red ball\nzwei größere Bälle 球\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r\n").encode("utf-8-sig"),
        TEXT.replace("\n", "\r\n").encode("utf-16"),
        TEXT.replace("\n", "\r").encode(),
    ],
)
def test_encodings_that_editors_write_give_one_text(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    assert read_text(tmp_path / "a.txt") == TEXT
    assert files.read_lines(tmp_path / "a.txt", "prompt") == TEXT.split("\n")[:2]


@pytest.mark.parametrize(
    "data, words",
    [
        ("größer".encode("latin-1"), "is not text in UTF-8 (byte 2"),
        ("a ball".encode("utf-16-le"), "NUL"),  # without a mark: every other byte is zero
        (TEXT.encode("utf-32"), "is not text"),
        (b"a ball\0", "NUL"),
        (b"\xff\xfea", "is not text in UTF-8"),  # half a character of UTF-16
        (b"\x89PNG\r\n\x1a\n\0\0", "is not text"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, data, words):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(UserError) as refusal:
        read_text(tmp_path / "a.txt")
    assert words in str(refusal.value) and "save it as UTF-8" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*absent.txt: No such file"):
        read_text(tmp_path / "absent.txt")
    with pytest.raises(UserError, match="Is a directory"):
        read_text(tmp_path)


def test_a_line_ends_at_a_line_end_alone(tmp_path):
    """A form feed or a separator of another script inside a line ends no line."""
    (tmp_path / "a.txt").write_text(
        "a red\x0cball\u2028and a blue one\na third\n", encoding="utf-8"
    )
    assert len(files.read_lines(tmp_path / "a.txt", "prompt")) == 2
