"""Captions are appended to tables, and writing one twice changes nothing."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli.batch import BatchError
from cli.batch.journal import Caption
from cli.batch.outputs import TableFile
from cli.batch.sources import Source

CAPTIONS = [Caption("a.jpg", 'a "dog", running', -0.5, 0.3, True), Caption("b.jpg", "ein Hündchen", None)]


def rows(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".json":
        return list(json.loads(path.read_text()))
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "json"])
class TestTables:
    def test_each_caption_has_a_row(self, suffix: str, tmp_path: Path) -> None:
        table = TableFile(tmp_path / f"new/captions.{suffix}", overwrite=False)

        table.write(CAPTIONS)
        table.close()

        written = rows(tmp_path / f"new/captions.{suffix}")
        assert [(row["image"], row["caption"]) for row in written] == [(each.image, each.caption) for each in CAPTIONS]

    def test_a_row_has_the_confidence(self, suffix: str, tmp_path: Path) -> None:
        table = TableFile(tmp_path / f"captions.{suffix}", overwrite=False)

        table.write(CAPTIONS)
        table.close()

        written = [(row["confidence"], row["unsure"]) for row in rows(tmp_path / f"captions.{suffix}")]
        assert written == ([("0.3", "true"), ("", "")] if suffix == "csv" else [(0.3, True), (None, None)])

    def test_a_row_has_the_translation(self, suffix: str, tmp_path: Path) -> None:
        table = TableFile(tmp_path / f"captions.{suffix}", overwrite=False)

        table.write([replace(CAPTIONS[0], translated="собака бежит"), CAPTIONS[1]])
        table.close()

        written = [row["translated"] for row in rows(tmp_path / f"captions.{suffix}")]
        assert written == ["собака бежит", "" if suffix == "csv" else None]

    def test_a_file_of_an_earlier_version_keeps_its_columns(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"captions.{suffix}"
        row = {"image": "old.jpg", "caption": "a cat", "score": -1.0}
        old = {
            "jsonl": json.dumps(row) + "\n",
            "json": json.dumps([row]),
            "csv": "image,caption,score\nold.jpg,a cat,-1.0\n",
        }
        path.write_text(old[suffix])

        table = TableFile(path, overwrite=False)
        table.write(CAPTIONS)
        table.close()

        assert [list(row) for row in rows(path)] == [["image", "caption", "score"]] * 3

    def test_rows_of_an_earlier_run_stay_and_are_known(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"captions.{suffix}"
        for caption in CAPTIONS:
            table = TableFile(path, overwrite=False)
            table.write([CAPTIONS[0]])
            table.write([caption])
            table.close()

        assert [row["image"] for row in rows(path)] == ["a.jpg", "b.jpg"]
        table = TableFile(path, overwrite=False)
        assert table.has(Source("b.jpg")) and not table.has(Source("c.jpg"))

    def test_overwriting_begins_an_empty_file(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"captions.{suffix}"
        for caption in CAPTIONS:
            table = TableFile(path, overwrite=True)
            table.write([caption])
            table.close()

        assert [row["image"] for row in rows(path)] == ["b.jpg"]

    def test_a_file_of_something_else_is_refused_and_kept(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"captions.{suffix}"
        path.write_text('{"name": 1}\n{"name": 2}\n')

        with pytest.raises(BatchError, match="--existing overwrite"):
            TableFile(path, overwrite=False)

        assert path.read_text() == '{"name": 1}\n{"name": 2}\n'


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_row_that_was_cut_off_is_removed(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"captions.{suffix}"
    TableFile(path, overwrite=False).write(CAPTIONS)
    complete = path.read_bytes()
    path.write_bytes(complete[:-4])

    table = TableFile(path, overwrite=False)
    assert not table.has(Source("b.jpg"))
    table.write(CAPTIONS)

    assert path.read_bytes() == complete


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match=r"\.jsonl, \.csv or \.json"):
        TableFile(tmp_path / "captions.xlsx", overwrite=False)
