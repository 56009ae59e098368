"""Names of archive entries: any encoding stays readable, and unsafe names and system files are recognised."""

from __future__ import annotations

import zipfile

import pytest

from worker.archives.names import decode_name, is_skipped, is_unsafe


def entry(raw: bytes) -> zipfile.ZipInfo:
    """An entry as `zipfile` reads it."""
    return zipfile.ZipInfo(raw.decode("cp437"))


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("photo.jpg", "ascii"),
        ("naïve café.jpg", "utf-8"),
        ("写真/夏.jpg", "utf-8"),
        ("naïve café.jpg", "cp437"),
        ("Größe.jpg", "cp437"),
        ("Отпуск/Пляж 1.jpg", "cp866"),
        ("写真/夏休み.jpg", "shift-jis"),
        ("カメラ.jpg", "shift-jis"),
    ],
)
def test_a_name_is_decoded(name: str, encoding: str) -> None:
    assert decode_name(entry(name.encode(encoding))) == name


def test_a_name_that_is_no_cp437_is_kept() -> None:
    assert decode_name(zipfile.ZipInfo("Отпуск.jpg")) == "Отпуск.jpg"


@pytest.mark.parametrize("raw", [bytes(range(1, 256)), b"\x01\x1b[31m.jpg", b"\xff\xfe\x00", bytes(range(0x80, 0xFF))])
def test_any_bytes_give_a_printable_name(raw: bytes) -> None:
    assert decode_name(entry(raw)).isprintable()


@pytest.mark.parametrize(
    "name", ["folder/", "__MACOSX/a.jpg", "a/__MACOSX/._b.jpg", ".DS_Store", "a/.DS_Store", "Thumbs.db", "a/._b.jpg"]
)
def test_folders_and_files_of_operating_systems_are_skipped(name: str) -> None:
    assert is_skipped(name)


@pytest.mark.parametrize("name", ["a.jpg", "a/b.jpg", "MACOSX/a.jpg", "readme.txt", ".hidden.jpg"])
def test_other_files_are_not_skipped(name: str) -> None:
    assert not is_skipped(name)


@pytest.mark.parametrize("name", ["../a.jpg", "a/../../b.jpg", "/etc/a.jpg", "C:/a.jpg", "c:a.jpg", "a\\b.jpg", ".."])
def test_a_name_outside_the_folder_of_the_archive_is_unsafe(name: str) -> None:
    assert is_unsafe(name)


@pytest.mark.parametrize("name", ["a.jpg", "a/b/c.jpg", "a..b.jpg", "...jpg", "ab:c.jpg"])
def test_a_relative_name_is_safe(name: str) -> None:
    assert not is_unsafe(name)
