"""ZIP files of sidecars, unpacked by `zipfile`; XMP read by exiftool."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from common.exports import FORMATS, Export, Names
from tests.unit.common.exports.batch import batch_of, captioned, export, failed


def unpacked(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_each_captioned_image_has_a_text_file_in_its_folder() -> None:
    jobs = [captioned("a/Kätzchen.jpg", "ein Kätzchen"), failed("bad.jpg"), captioned("b.png", "a dog", "my dog")]

    assert unpacked(export("txt.zip", jobs)) == {"a/Kätzchen.txt": "ein Kätzchen\n", "b.txt": "my dog\n"}


def test_sidecars_can_be_named_after_the_whole_image() -> None:
    files = unpacked(export("txt.zip", [captioned("a/b.jpg", "a dog")], Names.APPEND))

    assert list(files) == ["a/b.jpg.txt"]


def test_images_that_would_share_a_sidecar_get_one_each() -> None:
    names = ["a.jpg", "a.png", "A.webp", "a.jpg", "a.jpg"]

    files = unpacked(export("txt.zip", [captioned(name, f"caption {index}") for index, name in enumerate(names)]))

    assert files == {
        "a.txt": "caption 0\n",
        "a.png.txt": "caption 1\n",
        "A.webp.txt": "caption 2\n",
        "a.jpg.txt": "caption 3\n",
        "a.jpg (2).txt": "caption 4\n",
    }


def test_an_archive_without_captions_is_empty() -> None:
    assert unpacked(export("xmp.zip", [failed("bad.jpg")])) == {}


def test_entries_have_the_time_of_the_caption_and_are_readable() -> None:
    with zipfile.ZipFile(io.BytesIO(export("txt.zip", [captioned("a.jpg", "a dog")]))) as archive:
        (entry,) = archive.infolist()

    assert entry.date_time == (2026, 5, 1, 9, 30, 2)
    assert entry.external_attr >> 16 == 0o100644


def test_each_entry_is_sent_before_the_next_job_is_read() -> None:
    read = []

    def jobs() -> object:
        for name in ("a.jpg", "b.jpg"):
            read.append(name)
            yield captioned(name, "a dog")

    parts = FORMATS["txt.zip"].write(Export(batch_of(2), jobs()))  # type: ignore[arg-type]

    assert b"a.txt" in next(parts)
    assert read == ["a.jpg"]


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_reads_the_captions_of_xmp_sidecars(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(export("xmp.zip", [captioned("a/b.jpg", "x", 'a <b> & "ç"')]))) as archive:
        archive.extractall(tmp_path)

    run = subprocess.run(["exiftool", "-json", tmp_path / "a" / "b.jpg.xmp"], capture_output=True, check=True)

    read = json.loads(run.stdout)[0]
    assert (read["Description"], read["AltTextAccessibility"]) == ('a <b> & "ç"',) * 2
    assert "Warning" not in read


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_accepts_a_streamed_archive(tmp_path: Path) -> None:
    path = tmp_path / "captions.zip"
    path.write_bytes(export("txt.zip", [captioned("a/ä.jpg", "a dog")]))

    assert subprocess.run(["unzip", "-tq", path], capture_output=True).returncode == 0
