"""Arguments of `captiond batch` name images: files, folders, patterns and URLs."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from cli.batch import BatchError
from cli.batch.sources import Source, find, without_raw_twins
from common.problems import Problem
from tests.support.receiver import running_receiver, with_status


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.JPG", "photos/a.png", "photos/notes.txt", "photos/deep/c.webp", "alone.bin"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def names(*arguments: str, recursive: bool = False) -> list[str]:
    return [source.location for source in find(arguments, recursive=recursive)]


@pytest.mark.usefixtures("folder")
class TestOnDisk:
    def test_a_folder_gives_its_images_by_suffix_in_order(self) -> None:
        assert names("photos") == ["photos/a.png", "photos/b.JPG"]

    def test_subfolders_are_included_only_when_recursive(self) -> None:
        assert names("photos", recursive=True) == ["photos/a.png", "photos/b.JPG", "photos/deep/c.webp"]

    def test_hidden_files_and_folders_are_left_out_unless_they_are_named(self, folder: Path) -> None:
        (folder / "photos/.trash").mkdir()
        for name in ("photos/._a.jpg", "photos/.trash/b.jpg"):
            (folder / name).touch()

        assert names("photos", recursive=True) == ["photos/a.png", "photos/b.JPG", "photos/deep/c.webp"]
        assert names("photos/._a.jpg", "photos/.trash") == ["photos/._a.jpg", "photos/.trash/b.jpg"]

    def test_a_folder_that_may_not_be_read_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr("os.scandir", refuse)

        with pytest.raises(BatchError, match="photos cannot be listed: Permission denied"):
            names("photos")

    def test_a_named_file_is_taken_whatever_its_suffix(self) -> None:
        assert names("alone.bin") == ["alone.bin"]

    def test_a_pattern_gives_all_files_that_match(self) -> None:
        assert names("photos/**/*.[wp]*") == ["photos/a.png", "photos/deep/c.webp"]

    def test_an_image_named_twice_is_taken_once(self) -> None:
        assert names("photos/a.png", "photos") == ["photos/a.png", "photos/b.JPG"]

    @pytest.mark.parametrize("argument", ["nowhere.jpg", "photos/*.gif"])
    def test_an_argument_that_names_nothing_is_refused_by_name(self, argument: str) -> None:
        with pytest.raises(BatchError, match=argument.replace("*", r"\*")):
            names(argument)

    def test_a_raw_file_is_left_out_beside_its_picture_in_another_format(self, folder: Path) -> None:
        for name in ("a.CR2", "b.dng", "lone.nef", "deep/a.cr2"):
            (folder / "photos" / name).touch()
        found = find(["photos"], recursive=True)

        kept = [source.location for source in without_raw_twins(found, found)]

        assert kept == ["photos/a.png", "photos/b.JPG", "photos/deep/a.cr2", "photos/deep/c.webp", "photos/lone.nef"]

    def test_a_file_that_disappeared_is_a_problem_of_its_own(self, folder: Path) -> None:
        (source,) = find(["alone.bin"], recursive=False)
        (folder / "alone.bin").unlink()

        with pytest.raises(Problem, match="cannot be read"):
            source.read()


class TestAtUrls:
    @pytest.fixture(autouse=True)
    def store(self) -> None:
        store = fsspec.filesystem("memory")
        for name in ("/archive/1.jpg", "/archive/list.csv", "/archive/deep/2.jpg"):
            store.pipe_file(name, name.encode())

    def test_a_folder_of_an_object_store_gives_its_images(self) -> None:
        assert names("memory://archive") == ["memory:///archive/1.jpg"]
        assert names("memory://archive", recursive=True) == ["memory:///archive/1.jpg", "memory:///archive/deep/2.jpg"]

    def test_an_object_is_read_by_its_url(self) -> None:
        assert Source("memory://archive/1.jpg").read() == b"/archive/1.jpg"

    def test_an_unknown_protocol_is_refused(self) -> None:
        with pytest.raises(BatchError, match="gopher"):
            names("gopher://archive")

    def test_a_web_address_is_downloaded(self) -> None:
        with running_receiver(with_status(200, b"image"), with_status(404)) as receiver:
            (source,) = find([receiver.url("/photo.jpg?size=*")], recursive=False)

            assert source.read() == b"image"
            with pytest.raises(Problem, match="404"):
                source.read()

    def test_a_file_system_whose_package_is_missing_is_named(self) -> None:
        with pytest.raises(Problem, match="paramiko"):
            Source("sftp://host/photo.jpg").read()
