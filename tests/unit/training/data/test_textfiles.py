"""Text is read in UTF-8 and in encodings with a byte order mark; other encodings are refused."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from training.data.images import DataError
from training.data.textfiles import decode_text, read_json, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_utf_8_and_encodings_with_a_byte_order_mark_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes('["Café", "犬"]'.encode(encoding))

    assert read_json(path) == ["Café", "犬"]


def test_big_endian_text_is_read() -> None:
    assert decode_text(codecs.BOM_UTF16_BE + "Café".encode("utf-16-be"), "data.json") == "Café"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"one\n\x93two\x94", "Line 2 of data.json is not in UTF-8: it has the byte 0x93"),
        (codecs.BOM_UTF16_LE + b"o", "data.json has a byte order mark of UTF-16, but is not valid: truncated data."),
    ],
)
def test_invalid_bytes_are_refused_with_their_line(content: bytes, sentence: str) -> None:
    with pytest.raises(DataError) as refusal:
        decode_text(content, "data.json")

    assert str(refusal.value).startswith(sentence)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_text(tmp_path)
