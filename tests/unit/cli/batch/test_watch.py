"""`captiond watch` captions what is in a folder and what arrives there, each once, whatever stops it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli.batch import arrivals
from cli.batch.options import Options
from cli.batch.watch import watch
from common.settings import Settings
from tests.support.images import encoded, numbered
from tests.support.models import tiny_model, tiny_tokenizer
from tests.support.raw import DNG
from tests.support.service import wait_until

#: What a test does between two looks at the folder.
Steps = Callable[..., None]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "tiny"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return Settings(model=str(folder), max_batch=2, max_length=8, data=tmp_path / "data")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def options(inbox: Path) -> Options:
    return Options([str(inbox)], out=inbox / "captions.jsonl")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Makes the next `watch` do a step after each look at the folder, and then stop as on Ctrl-C.

    Files count as whole at once, and each look lists the folder.
    """
    monkeypatch.setattr(arrivals, "QUIET_TIME", 0.0)
    monkeypatch.setattr("cli.batch.watch.SCAN_INTERVAL", 0.0)

    def do(*functions: Callable[[], object]) -> None:
        def events(*_: object) -> Iterator[tuple[str, ...]]:
            yield ()
            yield ()
            for function in functions:
                function()
                yield ()
            raise KeyboardInterrupt

        monkeypatch.setattr("cli.batch.watch._events", events)

    do()
    return do


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Keep the test's signal handlers."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGIO)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def add(inbox: Path, *names: str) -> None:
    for name, data in zip(names, numbered(len(names)), strict=True):
        (inbox / name).write_bytes(data)


def names(out: Path | None) -> list[str]:
    assert out
    return [Path(json.loads(line)["image"]).name for line in out.read_text().splitlines()]


def test_what_is_there_and_what_arrives_is_captioned_and_printed(
    settings: Settings, options: Options, inbox: Path, steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    add(inbox, "a.jpg", "b.jpg")
    steps(lambda: add(inbox, "c.jpg"))

    assert watch(settings, options) == 0

    assert names(options.out) == ["a.jpg", "b.jpg", "c.jpg"]
    said = capsys.readouterr()
    assert [line.split("\t")[0] for line in said.out.splitlines()] == [
        str(inbox / name) for name in ("a.jpg", "b.jpg", "c.jpg")
    ]
    assert said.err == "Stopped. 3 captioned, 0 failed.\n"


def test_a_restart_captions_only_what_has_no_caption(
    settings: Settings, options: Options, inbox: Path, steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    add(inbox, "a.jpg")
    watch(settings, options)
    add(inbox, "b.jpg")
    capsys.readouterr()

    watch(settings, options)

    assert names(options.out) == ["a.jpg", "b.jpg"]
    assert capsys.readouterr().err == "Stopped. 1 captioned, 0 failed.\n"


def test_appending_is_for_what_arrives_and_not_repeated_by_a_restart(
    settings: Settings, options: Options, inbox: Path, steps: Steps
) -> None:
    appending = replace(options, out=None, sidecars=".txt", existing="append", template="new {caption}")
    add(inbox, "a.jpg")
    for name in ("a.txt", "b.txt"):
        (inbox / name).write_text("old\n")
    steps(lambda: add(inbox, "b.jpg"), lambda: (inbox / "b.jpg").chmod(0o600))

    watch(settings, appending)
    steps()
    watch(settings, appending)

    assert (inbox / "a.txt").read_text() == "old\n"
    assert (inbox / "b.txt").read_text().startswith("old, new ")
    assert (inbox / "b.txt").read_text().count("new ") == 1


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_an_image_that_its_caption_was_put_into_is_not_captioned_again(
    settings: Settings, options: Options, inbox: Path, steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    steps(lambda: add(inbox, "a.jpg"), lambda: None, lambda: None)

    watch(settings, replace(options, out=None, embed=True, existing="append"))

    assert "Stopped. 1 captioned, 0 failed." in capsys.readouterr().err


def test_images_that_fail_are_named_once_and_the_others_are_captioned(
    settings: Settings, options: Options, inbox: Path, steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    steps(
        lambda: (inbox / "broken.jpg").write_bytes(b"no image"),
        lambda: None,
        lambda: add(inbox, "a.jpg"),
        lambda: (inbox / "broken.jpg").write_bytes(encoded()),
    )

    assert watch(settings, options) == 0

    assert names(options.out) == ["a.jpg", "broken.jpg"]
    said = capsys.readouterr().err
    assert said.count("broken.jpg: ") == 1 and "2 captioned, 1 failed" in said


def test_two_images_with_one_sidecar_are_the_problem_of_the_second(
    settings: Settings, options: Options, inbox: Path, steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    add(inbox, "a.jpg", "a.jpeg")

    assert watch(settings, replace(options, out=None, sidecars=".txt")) == 0

    said = capsys.readouterr().err
    assert "a.jpg: " in said and "would share the sidecar" in said and "1 captioned, 1 failed" in said


def test_an_image_that_is_deleted_before_it_is_read_is_no_failure(
    settings: Settings, options: Options, inbox: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(inbox, "a.jpg")

    def read_bytes(path: Path) -> bytes:
        path.unlink()
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert watch(settings, options) == 0
    assert list(inbox.iterdir()) == []


def test_a_folder_that_disappears_is_named_once(
    settings: Settings, options: Options, inbox: Path, steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    steps(inbox.rmdir, lambda: None, lambda: add_to_new(inbox))

    def add_to_new(folder: Path) -> None:
        folder.mkdir()
        add(folder, "a.jpg")

    assert watch(settings, replace(options, out=inbox.parent / "captions.jsonl")) == 0

    assert capsys.readouterr().err.splitlines() == [
        f"There is no file or folder {inbox}.",
        "Stopped. 1 captioned, 0 failed.",
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"out": Path("captions.json")}, "A .json file is written at the end"),
        ({"existing": "overwrite"}, "--existing overwrite is not for captiond watch --out"),
        ({"poll": 0.0}, "--poll must be more than 0"),
        ({"out": None}, "Give one of --out FILE"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    changes: dict[str, object],
    sentence: str,
    settings: Settings,
    options: Options,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert watch(settings, replace(options, **changes)) == 2  # type: ignore[arg-type]

    assert sentence in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(
    settings: Settings, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch(settings, replace(options, paths=["nowhere"])) == 1

    assert capsys.readouterr().err == "There is no folder nowhere on this machine.\n"


class Watching:
    """`captiond watch` in a process of its own."""

    def __init__(self, settings: Settings, inbox: Path, *arguments: str) -> None:
        self.out = inbox / "captions.jsonl"
        command = [sys.executable, "-m", "cli.main", "watch", str(inbox), "--out", str(self.out), *arguments]
        self._process = subprocess.Popen(
            command, env=settings.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def captioned(self) -> int:
        return len(names(self.out)) if self.out.exists() else 0

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.communicate()

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Exit code and standard error after a signal."""
        self._process.send_signal(number)
        _, said = self._process.communicate(timeout=60)
        return self._process.returncode, said


@pytest.fixture
def start(settings: Settings, inbox: Path) -> Iterator[Callable[..., Watching]]:
    """Starts `captiond watch` with further arguments. It is ended after the test."""
    started: list[Watching] = []

    def start(*arguments: str) -> Watching:
        started.append(Watching(settings, inbox, *arguments))
        return started[-1]

    yield start
    for watching in started:
        watching.kill()


@pytest.mark.parametrize(
    ("number", "arguments"), [(signal.SIGTERM, ()), (signal.SIGINT, ("--poll", "0.5"))], ids=["events", "polling"]
)
def test_arriving_images_are_captioned_until_a_signal(
    number: signal.Signals, arguments: tuple[str, ...], start: Callable[..., Watching], inbox: Path
) -> None:
    add(inbox, "a.jpg")
    watching = start("--recursive", *arguments)
    wait_until(lambda: watching.captioned() == 1, timeout=120)
    (inbox / "deep/deeper").mkdir(parents=True)
    add(inbox / "deep/deeper", "b.jpg")
    wait_until(lambda: watching.captioned() == 2, timeout=30)  # less than the interval of listing the folders

    assert watching.stop(number) == (0, "Stopped. 2 captioned, 0 failed.\n")


@pytest.mark.slow
def test_200_images_are_captioned_once_each_though_the_command_is_killed(
    start: Callable[..., Watching], inbox: Path
) -> None:
    watching = start()
    out, images = watching.out, numbered(200)
    for number, data in enumerate(images):
        with (inbox / f"{number}.jpg").open("wb") as file:  # in two halves, as a slow copy
            file.write(data[: len(data) // 2])
            file.flush()
            time.sleep(0.05)
            file.write(data[len(data) // 2 :])
        if number == 120:
            wait_until(lambda: out.exists() and len(names(out)) > 10, timeout=120)
            watching.stop(signal.SIGKILL)
            watching = start()
    wait_until(lambda: len(names(out)) >= len(images), timeout=300)

    code, said = watching.stop(signal.SIGTERM)

    assert code == 0 and ", 0 failed." in said
    assert sorted(names(out)) == sorted(f"{number}.jpg" for number in range(200))


def test_a_raw_file_is_left_out_beside_its_picture_in_another_format(
    settings: Settings, options: Options, inbox: Path, steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    add(inbox, "a.jpg")
    steps(*(lambda name=name: (inbox / name).write_bytes(DNG) for name in ("a.dng", "b.dng")))

    assert watch(settings, options) == 0

    assert names(options.out) == ["a.jpg", "b.dng"]
    assert capsys.readouterr().err.splitlines() == [
        "1 RAW file is left out, because its picture is there in another format, too.",
        "Stopped. 2 captioned, 0 failed.",
    ]
