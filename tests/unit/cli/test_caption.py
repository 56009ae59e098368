"""`captiond caption` answers for every file, in order, and a bad one fails alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

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
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for path, data in zip(paths, numbered(5), strict=True):
        path.write_bytes(data)
    return paths


def test_each_file_has_its_line_in_order(
    settings: Settings, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code = caption(settings, pictures, as_json=False)

    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [line[0] for line in lines] == [str(path) for path in pictures]
    assert all(len(line) == 2 for line in lines)


def test_json_has_caption_and_score(
    settings: Settings, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    caption(settings, pictures[:1], as_json=True)

    line = json.loads(capsys.readouterr().out)
    assert line["file"] == str(pictures[0])
    assert isinstance(line["caption"], str) and line["score"] < 0


def test_json_has_the_bytes_of_a_name_that_is_not_text_as_escapes(
    settings: Settings, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = pictures[0].rename(os.fsdecode(os.fsencode(pictures[0].parent) + b"/na\xefve.jpg"))

    caption(settings, [renamed], as_json=True)

    said = capsys.readouterr().out
    assert said.isascii() and json.loads(said)["file"] == str(renamed)


def test_a_bad_file_fails_alone(settings: Settings, pictures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    pictures[1].write_bytes(b"not a picture")
    pictures[3].unlink()

    code = caption(settings, pictures, as_json=False)

    said = capsys.readouterr()
    assert code == 1
    assert len(said.out.splitlines()) == 3
    assert [line.split(": ")[0] for line in said.err.splitlines()] == [str(pictures[1]), str(pictures[3])]


def test_a_model_that_cannot_be_had_is_said(
    settings: Settings, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code = caption(settings.model_copy(update={"model": "nowhere.pt"}), pictures, as_json=False)

    assert code == 1
    assert "nowhere.pt" in capsys.readouterr().err
