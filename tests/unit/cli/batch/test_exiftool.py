"""Captions in the metadata of image files: read and written by exiftool, with everything else as it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from cli.batch import BatchError
from cli.batch.exiftool import LINK, TAGS, ExifTool
from common.problems import Problem
from common.settings import PROJECT_ROOT
from common.xmp import ALT_TEXT, CAPTION, DESCRIPTION
from tests.support.images import drawing, encoded
from tests.support.service import wait_until

pytestmark = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")


@pytest.fixture
def exiftool() -> Iterator[ExifTool]:
    tool = ExifTool()
    yield tool
    tool.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded())
    return path


def tags(path: Path) -> dict[str, str]:
    """The XMP of a file, read by another exiftool."""
    command = ["exiftool", "-json", "-XMP:all", str(path)]
    read: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[0]
    return {name: value for name, value in read.items() if name not in ("SourceFile", "XMPToolkit")}


def pixels(path: Path) -> bytes:
    """The decoded pixels of a file."""
    with Image.open(path) as image:
        return image.tobytes()


def scan(data: bytes) -> bytes:
    """The compressed pixels of a JPEG: all from its first scan on."""
    return data[data.index(b"\xff\xda") :]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF"])
def test_both_properties_are_written_and_read_and_the_pixels_stay(
    format: str, exiftool: ExifTool, tmp_path: Path
) -> None:
    photo = tmp_path / f"photo.{format.lower()}"
    photo.write_bytes(encoded(format=format))
    before = pixels(photo)
    assert exiftool.read(photo, DESCRIPTION) is None

    exiftool.write(photo, CAPTION, "a dog")

    assert (exiftool.read(photo, DESCRIPTION), exiftool.read(photo, ALT_TEXT)) == ("a dog", "a dog")
    assert tags(photo) == {"Description": "a dog", "AltTextAccessibility": "a dog"}
    assert pixels(photo) == before


def test_the_compressed_pixels_of_a_jpeg_stay_byte_for_byte(exiftool: ExifTool, photo: Path) -> None:
    before = photo.read_bytes()

    exiftool.write(photo, CAPTION, "a dog")

    assert scan(photo.read_bytes()) == scan(before)


def test_only_the_named_property_in_the_default_language_is_changed(exiftool: ExifTool, photo: Path) -> None:
    exiftool.write(photo, (DESCRIPTION,), "by hand")
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-XMP-dc:Description-de=ein Hund", photo], check=True)

    exiftool.write(photo, (ALT_TEXT,), "a dog")
    exiftool.write(photo, (ALT_TEXT,), "A dog.")

    assert tags(photo) == {"Description": "by hand", "Description-de": "ein Hund", "AltTextAccessibility": "A dog."}


def test_a_text_in_another_language_is_no_caption(exiftool: ExifTool, photo: Path) -> None:
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-XMP-dc:Description-de=ein Hund", photo], check=True)

    assert exiftool.read(photo, DESCRIPTION) is None


@pytest.mark.parametrize(
    "text", ["<b> & \"x\" 'y' &lt;", "two\nlines\r\n#3", "=-$x @y \\n", "狗 🐕", "</etc/passwd", "2024"]
)
def test_a_text_of_any_characters_is_kept(text: str, exiftool: ExifTool, photo: Path) -> None:
    exiftool.write(photo, CAPTION, text)

    assert exiftool.read(photo, DESCRIPTION) == text


@pytest.mark.parametrize(
    "name",
    [b"-all=.jpg", b"#x.jpg", b" a \n-delete_original\nb.jpg", b"%d%f.jpg", b"$x@y.jpg", b"\xff\xfe.jpg", b"a.png"],
)
def test_a_file_of_any_name_is_written(name: bytes, exiftool: ExifTool, tmp_path: Path) -> None:
    photo = tmp_path / os.fsdecode(name)
    photo.write_bytes(encoded())

    exiftool.write(photo, CAPTION, "a dog")

    assert exiftool.read(photo, DESCRIPTION) == "a dog"
    assert list(tmp_path.iterdir()) == [photo]


def test_times_and_mode_are_kept(exiftool: ExifTool, photo: Path) -> None:
    photo.chmod(0o640)
    os.utime(photo, ns=(1_600_000_000_123_456_789, 1_500_000_000_987_654_321))

    exiftool.write(photo, CAPTION, "a dog")

    status = photo.stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o640, 1_500_000_000_987_654_321)


def test_the_file_that_a_link_names_is_written(exiftool: ExifTool, photo: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.jpg"
    link.symlink_to(photo.name)

    exiftool.write(link, CAPTION, "a dog")

    assert link.is_symlink() and exiftool.read(photo, DESCRIPTION) == "a dog"


@pytest.mark.parametrize("content", [encoded(format="BMP"), b"no image", b"", encoded()[:200]])
def test_a_file_that_takes_no_metadata_is_refused_and_kept(content: bytes, exiftool: ExifTool, photo: Path) -> None:
    photo.write_bytes(content)
    assert exiftool.read(photo, DESCRIPTION) is None

    with pytest.raises(Problem, match=r"exiftool cannot write into this file: .+") as refused:
        exiftool.write(photo, CAPTION, "a dog")

    assert photo.read_bytes() == content
    assert f"- {LINK}" not in refused.value.detail


def test_a_file_that_is_changed_meanwhile_is_kept(
    exiftool: ExifTool, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copystat = shutil.copystat

    def change(*arguments: object) -> None:
        copystat(*arguments)  # type: ignore[arg-type]
        photo.write_bytes(b"another image")

    monkeypatch.setattr("cli.batch.exiftool.shutil.copystat", change)

    with pytest.raises(Problem, match="was changed"):
        exiftool.write(photo, CAPTION, "a dog")

    assert photo.read_bytes() == b"another image"


def test_an_exiftool_that_lacks_a_tag_changes_nothing(
    exiftool: ExifTool, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = photo.read_bytes()
    monkeypatch.setitem(TAGS, ALT_TEXT, "XMP-iptcCore:NoSuchTag")

    with pytest.raises(Problem, match=r"NoSuchTag.* is not defined"):
        exiftool.write(photo, CAPTION, "a dog")

    assert photo.read_bytes() == before


def test_the_user_s_configuration_is_not_read(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ExifTool_config").write_text('die "configured";')
    monkeypatch.setenv("HOME", str(tmp_path))
    tool = ExifTool()
    tool.write(photo, CAPTION, "a dog")
    assert tool.read(photo, DESCRIPTION) == "a dog"
    tool.close()


def test_without_exiftool_the_option_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(BatchError, match="--embed needs the program exiftool, which is not installed"):
        ExifTool()


def test_exiftool_that_ends_is_a_problem_of_its_file_and_started_again(exiftool: ExifTool, photo: Path) -> None:
    exiftool._process.kill()

    with pytest.raises(Problem, match="exiftool ended"):
        exiftool.read(photo, DESCRIPTION)

    exiftool.write(photo, CAPTION, "a dog")
    assert exiftool.read(photo, DESCRIPTION) == "a dog"


KILLED = """
import os, sys
from pathlib import Path
from cli.batch.exiftool import ExifTool
from common.xmp import CAPTION

tool = ExifTool()
print(tool._process.pid, flush=True)
for number in range(10_000):
    tool.write(Path(sys.argv[1]), CAPTION, f"caption {number}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_kill_leaves_a_whole_file_and_no_exiftool(photo: Path, exiftool: ExifTool) -> None:
    photo.write_bytes(encoded(drawing(size=(2000, 1500))))
    before = scan(photo.read_bytes())
    process = subprocess.Popen([sys.executable, "-c", KILLED, photo], cwd=PROJECT_ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    child = int(process.stdout.readline())
    wait_until(lambda: exiftool.read(photo, DESCRIPTION) not in (None, "caption 0"))

    process.kill()
    process.wait()
    process.stdout.close()

    assert scan(photo.read_bytes()) == before
    assert pixels(photo)
    assert str(exiftool.read(photo, DESCRIPTION)).startswith("caption ")
    wait_until(lambda: not _alive(child))


def _alive(pid: int) -> bool:
    """Whether a process that nobody waits for is still running."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_the_process_ends_with_the_run(photo: Path) -> None:
    tool = ExifTool()
    tool.read(photo, DESCRIPTION)

    tool.close()

    assert tool._process.returncode in (0, -signal.SIGPIPE)
