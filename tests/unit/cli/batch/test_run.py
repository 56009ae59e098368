"""A run of `captiond batch` captions what is missing, says what failed, and goes on after it was killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.batch.beside import TextSidecars
from cli.batch.journal import Caption
from cli.batch.options import Options
from cli.batch.outputs import Existing, TableFile
from cli.batch.run import batch, running
from common import xmp
from common.settings import Settings
from tests.support.images import encoded, numbered
from tests.support.models import tiny_model, tiny_tokenizer
from tests.support.raw import DNG


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "tiny"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return Settings(model=str(folder), max_batch=2, max_length=8, data=tmp_path / "data")


@pytest.fixture
def options(tmp_path: Path) -> Options:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, data in enumerate(numbered(5)):
        (photos / f"{number}.jpg").write_bytes(data)
    return Options([str(photos)], out=tmp_path / "captions.jsonl")


def images(path: Path | None) -> list[str]:
    assert path is not None
    return [Path(json.loads(line)["image"]).name for line in path.read_text().splitlines()]


def test_every_image_of_a_folder_gets_a_row(settings: Settings, options: Options) -> None:
    assert batch(settings, options) == 0

    assert images(options.out) == [f"{number}.jpg" for number in range(5)]


def test_a_second_run_captions_only_new_images(settings: Settings, options: Options) -> None:
    batch(settings, replace(options, limit=2))
    batch(settings, options)

    assert images(options.out) == [f"{number}.jpg" for number in range(5)]


def test_an_unreadable_image_is_listed_and_the_others_are_captioned(
    settings: Settings, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path(options.paths[0]) / "2.jpg"
    broken.write_bytes(b"no image")

    assert batch(settings, options) == 1

    assert images(options.out) == ["0.jpg", "1.jpg", "3.jpg", "4.jpg"]
    said = capsys.readouterr().err
    assert f"{broken}: " in said and "4 captioned, 1 failed" in said


def test_raw_files_are_captioned_and_left_out_beside_their_pictures(
    settings: Settings, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("3.dng", "4.cr2", "5.dng"):
        (Path(options.paths[0]) / name).write_bytes(DNG)

    assert batch(settings, options) == 0

    assert images(options.out) == [*(f"{number}.jpg" for number in range(5)), "5.dng"]
    said = capsys.readouterr().err
    assert "2 RAW files are left out" in said and "6 captioned, 0 failed, 0 there already" in said


def test_the_template_surrounds_each_caption(settings: Settings, options: Options) -> None:
    batch(settings, replace(options, out=None, sidecars=".txt", template="sks, {caption}!"))

    for sidecar in Path(options.paths[0]).glob("*.txt"):
        content = sidecar.read_text()
        assert content.startswith("sks, ") and content.endswith("!\n")


def test_alternative_text_is_a_sentence(settings: Settings, options: Options) -> None:
    batch(settings, replace(options, alt_text=True))

    assert options.out
    for line in options.out.read_text().splitlines():
        caption = json.loads(line)["caption"]
        assert caption[0].isupper() and caption[-1] in ".…"


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_captions_are_put_into_the_images_once(
    settings: Settings, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    embedding = replace(options, out=None, embed=True)
    (Path(options.paths[0]) / "5.bmp").write_bytes(encoded(format="BMP"))

    assert batch(settings, embedding) == 1

    said = capsys.readouterr().err
    assert "5 captioned, 1 failed" in said and "5.bmp: exiftool cannot write into this file" in said
    assert batch(settings, embedding) == 1
    assert "0 captioned, 1 failed, 5 there already" in capsys.readouterr().err


def test_two_runs_with_the_same_output_are_not_allowed(
    settings: Settings, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(settings, options):
        assert batch(settings, replace(options, existing="overwrite")) == 1

    assert "Another captiond batch or watch writes these captions now." in capsys.readouterr().err
    assert batch(settings, options) == 0


@pytest.mark.parametrize("existing", ["skip", "overwrite"])
def test_a_sidecar_that_is_no_xmp_is_listed_and_kept(
    existing: Existing, settings: Settings, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    sidecar = Path(options.paths[0]) / "2.jpg.xmp"
    sidecar.write_text("by hand <")

    assert batch(settings, replace(options, out=None, sidecars=".xmp", existing=existing)) == 1

    assert "2.jpg: The sidecar is not XML" in capsys.readouterr().err
    assert sidecar.read_text() == "by hand <"
    assert len(list(sidecar.parent.glob("*.xmp"))) == 5


def test_a_sidecar_in_another_encoding_is_listed_and_kept(
    settings: Settings, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    sidecar = Path(options.paths[0]) / "2.jpg.xmp"
    content = xmp.EMPTY.replace('rdf:about=""', 'rdf:about="K\u00e4tzchen"').encode("utf-16")
    sidecar.write_bytes(content)

    assert batch(settings, replace(options, out=None, sidecars=".xmp")) == 1

    assert "2.jpg: The sidecar is not XML" in capsys.readouterr().err
    assert sidecar.read_bytes() == content


def test_an_output_that_cannot_be_written_ends_the_run_with_its_name(
    settings: Settings, options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "captions.jsonl"

    assert batch(settings, replace(options, out=out)) == 1

    assert f"{tmp_path / 'file'} cannot be written" in capsys.readouterr().err


def test_a_dry_run_lists_what_is_missing_and_writes_nothing(
    settings: Settings, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    batch(settings, replace(options, limit=4))
    before = options.out.read_bytes() if options.out else b""
    capsys.readouterr()

    assert batch(settings, replace(options, dry_run=True, existing="overwrite", limit=3)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3

    batch(settings, replace(options, dry_run=True))
    assert capsys.readouterr().out == f"{options.paths[0]}/4.jpg\n"
    assert options.out and options.out.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"out": None}, "--out FILE, --sidecars SUFFIX, --xmp and --embed"),
        ({"sidecars": ".txt"}, "--out FILE, --sidecars SUFFIX, --xmp and --embed"),
        ({"embed": True}, "--out FILE, --sidecars SUFFIX, --xmp and --embed"),
        ({"existing": "append"}, "--existing append is not for --out"),
        ({"out": None, "embed": True, "existing": "append", "alt_text": True}, "append is not for --alt-text"),
        ({"template": "no place"}, "--template: It must have {caption} exactly once"),
        ({"limit": 0}, "--limit"),
        ({"out": None, "sidecars": "txt"}, "--sidecars takes a suffix"),
        ({"out": None, "sidecars": ".JPG"}, "--sidecars .JPG would be named as images are"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    changes: dict[str, object],
    sentence: str,
    settings: Settings,
    options: Options,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert batch(settings, replace(options, **changes)) == 2  # type: ignore[arg-type]

    assert sentence in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_is_named(
    settings: Settings, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(settings.model_copy(update={"model": "nowhere.pt"}), options) == 1

    assert "nowhere.pt" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "json"])
def test_overwriting_keeps_the_file_until_there_are_captions(
    suffix: str, settings: Settings, options: Options, tmp_path: Path
) -> None:
    out = tmp_path / f"old.{suffix}"
    out.write_text("old")

    batch(settings.model_copy(update={"model": "nowhere.pt"}), replace(options, out=out, existing="overwrite"))

    assert out.read_text() == "old"


class TestStoppedRuns:
    """The run is stopped after its first captions were written, by an output that fails."""

    @pytest.fixture(autouse=True)
    def small_groups(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cli.batch.run.WRITE_SIZE", 2)
        monkeypatch.setattr("cli.batch.run.WRITE_INTERVAL", 3600.0)  # however slow the machine is

    def stop(
        self,
        settings: Settings,
        options: Options,
        monkeypatch: pytest.MonkeyPatch,
        output: type[TableFile] | type[TextSidecars],
    ) -> None:
        """Run until the second group of captions is in the journal and not yet in the output."""
        write: Any = output.write
        groups: list[list[Caption]] = []

        def failing(self: object, captions: list[Caption]) -> Any:
            groups.append(captions)
            if len([group for group in groups if group]) == 2:
                raise KeyboardInterrupt
            return write(self, captions)

        with monkeypatch.context() as patched:
            patched.setattr(output, "write", failing)
            assert batch(settings, options) == 130

    def test_the_next_run_captions_only_the_rest(
        self, settings: Settings, options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.stop(settings, options, monkeypatch, TableFile)

        assert batch(settings, options) == 0

        assert "1 captioned" in capsys.readouterr().err
        assert images(options.out) == [f"{number}.jpg" for number in range(5)]

    def test_overwriting_goes_on_instead_of_beginning_again(
        self, settings: Settings, options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        overwriting = replace(options, existing="overwrite")
        batch(settings, overwriting)
        self.stop(settings, overwriting, monkeypatch, TableFile)

        assert batch(settings, overwriting) == 0

        assert "1 captioned" in capsys.readouterr().err
        assert images(options.out) == [f"{number}.jpg" for number in range(5)]

    def test_appending_appends_once(
        self, settings: Settings, options: Options, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        appending = replace(options, out=None, sidecars=".txt", existing="append", template="new {caption}")
        sidecars = [Path(options.paths[0]) / f"{number}.txt" for number in range(5)]
        for sidecar in sidecars:
            sidecar.write_text("old\n")
        self.stop(settings, appending, monkeypatch, TextSidecars)

        assert batch(settings, appending) == 0

        for sidecar in sidecars:
            assert sidecar.read_text().startswith("old, new ")
            assert sidecar.read_text().count("new ") == 1


def test_a_run_that_is_killed_three_times_captions_every_image_once(
    settings: Settings, options: Options, tmp_path: Path
) -> None:
    photos = Path(options.paths[0])
    for number, data in enumerate(numbered(120)):
        (photos / f"many{number}.jpg").write_bytes(data)
    command = [sys.executable, "-m", "cli.main", "batch", str(photos), "--out", str(options.out)]
    assert options.out is not None
    for _ in range(3):
        process = subprocess.Popen(command, env=settings.environment(), stderr=subprocess.DEVNULL)
        before = len(images(options.out)) if options.out.exists() else 0
        while process.poll() is None and (len(images(options.out)) if options.out.exists() else 0) == before:
            time.sleep(0.02)
        process.kill()
        process.wait()

    assert subprocess.run(command, env=settings.environment(), stderr=subprocess.DEVNULL).returncode == 0

    assert sorted(images(options.out)) == sorted(path.name for path in photos.iterdir())
