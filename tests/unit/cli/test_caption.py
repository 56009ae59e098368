"""`captiond caption` captions every file in order, and an unreadable file does not stop the others."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import fsspec
import pytest

from cli.caption import caption
from common.settings import Settings
from tests.support.images import numbered
from tests.support.models import tiny_model, tiny_tokenizer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "tiny"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return Settings(model=str(folder), max_batch=2, max_length=8)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for path, data in zip(paths, numbered(5), strict=True):
        path.write_bytes(data)
    return paths


def test_captions_are_printed_one_per_line_in_the_order_of_the_files(
    settings: Settings, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code = caption(settings, [str(path) for path in images], as_json=False)

    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [line[0] for line in lines] == [str(path) for path in images]
    assert all(len(line) == 2 for line in lines)


def test_json_output_has_caption_and_score(
    settings: Settings, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    caption(settings, [str(images[0])], as_json=True)

    line = json.loads(capsys.readouterr().out)
    assert line["file"] == str(images[0])
    assert isinstance(line["caption"], str) and line["score"] < 0
    assert line["confidence"] is line["unsure"] is None  # a model without a calibration


def test_json_output_escapes_the_undecodable_bytes_of_a_file_name(
    settings: Settings, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = images[0].rename(os.fsdecode(os.fsencode(images[0].parent) + b"/na\xefve.jpg"))

    caption(settings, [str(renamed)], as_json=True)

    printed = capsys.readouterr().out
    assert printed.isascii() and json.loads(printed)["file"] == str(renamed)


def test_an_unreadable_file_does_not_stop_the_others(
    settings: Settings, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images[1].write_bytes(b"not an image")
    images[3].unlink()

    code = caption(settings, [str(path) for path in images], as_json=False)

    printed = capsys.readouterr()
    assert code == 1
    assert len(printed.out.splitlines()) == 3
    assert [line.split(": ")[0] for line in printed.err.splitlines()] == [str(images[1]), str(images[3])]


def test_a_missing_model_is_reported(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code = caption(settings.model_copy(update={"model": "nowhere.pt"}), ["a.jpg"], as_json=False)

    assert code == 1
    assert "nowhere.pt" in capsys.readouterr().err


def test_several_captions_of_an_image_are_printed_best_first(
    settings: Settings, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    caption(settings, [str(images[0])], as_json=True)
    output = json.loads(capsys.readouterr().out)

    caption(settings, [str(images[0])], as_json=False, count=2)

    expected = [output["caption"], output["alternatives"][0]["caption"]]
    assert capsys.readouterr().out.splitlines() == [f"{images[0]}\t{text}" for text in expected]


def test_standard_input_and_urls_are_captioned(
    settings: Settings, images: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.filesystem("memory").pipe_file("/photo.jpg", images[0].read_bytes())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(images[0].read_bytes())))

    assert caption(settings, ["-", "memory://photo.jpg", str(images[0])], as_json=False) == 0

    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["-", "memory://photo.jpg", str(images[0])]
    assert len({line[1] for line in lines}) == 1
