"""Images that arrive in folders are taken once each, when they are whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cli.batch import BatchError
from cli.batch.arrivals import QUIET_TIME, Arrivals
from tests.support.clock import Clock


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def arrivals(inbox: Path, clock: Clock) -> Arrivals:
    return Arrivals(["inbox"], recursive=True, clock=clock)


def whole(arrivals: Arrivals, clock: Clock) -> list[str]:
    """What is whole after a quiet time."""
    clock.advance(QUIET_TIME)
    return [source.location for source in arrivals.whole(100)]


def test_images_that_are_there_are_taken_by_the_name_that_batch_gives_them(
    arrivals: Arrivals, inbox: Path, clock: Clock
) -> None:
    (inbox / "deep").mkdir()
    for name in ("b.jpg", "deep/a.PNG", "notes.txt", "captions.jsonl", "b.txt", "b.jpg.xmp", "b.jpg.saving"):
        (inbox / name).touch()

    assert arrivals.scan() == []

    assert whole(arrivals, clock) == ["inbox/b.jpg", "inbox/deep/a.PNG"]
    assert arrivals.scan() == []
    assert whole(arrivals, clock) == []


def test_an_event_finds_a_file_or_a_whole_folder(arrivals: Arrivals, inbox: Path, clock: Clock) -> None:
    (inbox / "new/deep").mkdir(parents=True)
    (inbox / "new/deep/a.jpg").touch()
    (inbox / "b.jpg").touch()

    for path in (inbox / "new", inbox / "b.jpg", inbox / "b.txt", inbox.parent / "elsewhere.jpg"):
        arrivals.look_at(str(path))

    assert whole(arrivals, clock) == ["inbox/new/deep/a.jpg", "inbox/b.jpg"]


def test_events_of_a_linked_folder_have_its_real_path(inbox: Path, clock: Clock) -> None:
    (inbox.parent / "link").symlink_to(inbox)
    arrivals = Arrivals(["link"], recursive=False, clock=clock)
    (inbox / "a.jpg").touch()

    assert list(arrivals.folders) == [str(inbox)]
    arrivals.look_at(str(inbox / "a.jpg"))

    assert whole(arrivals, clock) == ["link/a.jpg"]


def test_subfolders_are_left_out_unless_asked_for(inbox: Path, clock: Clock) -> None:
    arrivals = Arrivals(["inbox"], recursive=False, clock=clock)
    (inbox / "deep").mkdir()
    (inbox / "deep/a.jpg").touch()

    arrivals.scan()
    arrivals.look_at(str(inbox / "deep"))
    arrivals.look_at(str(inbox / "deep/a.jpg"))

    assert whole(arrivals, clock) == []


@pytest.mark.parametrize(
    "name",
    [".photo.jpg.x7Fk2q", ".photo.jpg", "._photo.jpg", "photo.jpg.part", "photo.jpg.crdownload", ".thumbs/photo.jpg"],
)
def test_temporary_and_hidden_names_are_left_out(name: str, arrivals: Arrivals, inbox: Path, clock: Clock) -> None:
    path = inbox / name
    path.parent.mkdir(exist_ok=True)
    path.touch()

    arrivals.scan()
    arrivals.look_at(str(path))

    assert whole(arrivals, clock) == []


def test_a_file_that_grows_is_taken_when_it_has_been_quiet(arrivals: Arrivals, inbox: Path, clock: Clock) -> None:
    photo = inbox / "a.jpg"
    photo.write_bytes(b"1")
    arrivals.scan()
    for size in range(2, 60):
        clock.advance(QUIET_TIME - 0.5)
        photo.write_bytes(b"1" * size)
        assert arrivals.whole(1) == []

    clock.advance(QUIET_TIME - 0.5)
    assert arrivals.whole(1) == []
    clock.advance(0.5)
    assert [source.location for source in arrivals.whole(1)] == ["inbox/a.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_copy_that_pauses_is_not_taken_before_its_file_is_closed(
    arrivals: Arrivals, inbox: Path, clock: Clock
) -> None:
    if os.major(inbox.stat().st_dev) == 0:
        pytest.skip("The temporary folder is on a file system without a device.")
    with (inbox / "a.jpg").open("wb") as file:
        file.write(b"half")
        file.flush()
        arrivals.scan()
        for _ in range(10):
            assert whole(arrivals, clock) == []

    assert whole(arrivals, clock) == ["inbox/a.jpg"]


def test_a_renamed_or_deleted_file_is_forgotten(arrivals: Arrivals, inbox: Path, clock: Clock) -> None:
    for name in ("a.jpg", "b.jpg"):
        (inbox / name).touch()
    arrivals.scan()
    (inbox / "a.jpg").rename(inbox / "c.jpg")
    (inbox / "b.jpg").unlink()
    arrivals.look_at(str(inbox / "c.jpg"))

    assert whole(arrivals, clock) == ["inbox/c.jpg"]


def test_a_deleted_image_that_comes_back_is_taken_again(arrivals: Arrivals, inbox: Path, clock: Clock) -> None:
    photo, elsewhere = inbox / "a.jpg", inbox.parent / "a.jpg"
    photo.touch()
    arrivals.scan()
    whole(arrivals, clock)
    arrivals.written("inbox/a.jpg")

    photo.rename(elsewhere)
    arrivals.look_at(str(photo))
    elsewhere.rename(photo)
    arrivals.look_at(str(photo))

    assert whole(arrivals, clock) == ["inbox/a.jpg"]


def test_an_image_with_a_caption_is_taken_again_only_when_it_is_modified(
    arrivals: Arrivals, inbox: Path, clock: Clock
) -> None:
    photo = inbox / "a.jpg"
    photo.write_bytes(b"one")
    arrivals.scan()
    whole(arrivals, clock)
    modified = photo.stat().st_mtime_ns
    photo.write_bytes(b"one with its caption")
    os.utime(photo, ns=(modified, modified))
    photo.chmod(0o600)
    arrivals.written("inbox/a.jpg")

    arrivals.scan()
    assert whole(arrivals, clock) == []

    os.utime(photo, ns=(modified, modified + 1))
    arrivals.scan()
    assert whole(arrivals, clock) == ["inbox/a.jpg"]


def test_an_image_that_was_modified_while_it_was_captioned_is_taken_again(
    arrivals: Arrivals, inbox: Path, clock: Clock
) -> None:
    photo = inbox / "a.jpg"
    photo.touch()
    arrivals.scan()
    whole(arrivals, clock)

    os.utime(photo, ns=(1, 1))
    arrivals.written("inbox/a.jpg")
    arrivals.scan()

    assert whole(arrivals, clock) == ["inbox/a.jpg"]


def test_an_image_without_a_caption_is_taken_again_when_its_mode_changes(
    arrivals: Arrivals, inbox: Path, clock: Clock
) -> None:
    (inbox / "a.jpg").touch(mode=0o000)
    arrivals.scan()
    assert whole(arrivals, clock) == ["inbox/a.jpg"]

    (inbox / "a.jpg").chmod(0o600)
    arrivals.scan()

    assert whole(arrivals, clock) == ["inbox/a.jpg"]


def test_so_many_images_are_taken_at_once(arrivals: Arrivals, inbox: Path, clock: Clock) -> None:
    for number in range(5):
        (inbox / f"{number}.jpg").touch()
    arrivals.scan()
    assert len(arrivals.pending()) == 5
    clock.advance(QUIET_TIME)

    assert [len(arrivals.whole(2)) for _ in range(4)] == [2, 2, 1, 0]
    assert arrivals.pending() == set()


def test_a_folder_that_disappears_is_named_and_found_again(arrivals: Arrivals, inbox: Path, clock: Clock) -> None:
    inbox.rename(inbox.parent / "away")
    assert [str(sentence) for sentence in arrivals.scan()] == ["There is no file or folder inbox."]

    (inbox.parent / "away").rename(inbox)
    (inbox / "a.jpg").touch()
    assert arrivals.scan() == []
    assert whole(arrivals, clock) == ["inbox/a.jpg"]


@pytest.mark.parametrize("folder", ["nowhere", "s3://bucket", "file.jpg"])
def test_what_is_no_folder_is_refused(folder: str, inbox: Path) -> None:
    (inbox.parent / "file.jpg").touch()

    with pytest.raises(BatchError, match=f"There is no folder {folder}"):
        Arrivals([folder], recursive=False)
