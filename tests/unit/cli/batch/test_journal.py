"""The journal of an unfinished run survives its process."""

from __future__ import annotations

from pathlib import Path

from cli.batch.journal import Caption, Journal

FIRST, SECOND = Caption("a.jpg", "one", -1.0), Caption("b.jpg", "two", None, content="two\n")


def read(path: Path) -> list[Caption]:
    return Journal(path).captions


def test_captions_are_read_again_by_the_next_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "folder" / "run.jsonl")
    journal.add([FIRST])
    journal.add([SECOND])

    assert read(tmp_path / "folder" / "run.jsonl") == [FIRST, SECOND]


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    journal = Journal(path)
    journal.add([FIRST, SECOND])
    path.write_bytes(path.read_bytes()[:-5])

    journal = Journal(path)
    journal.add([SECOND])

    assert read(path) == [FIRST, SECOND]


def test_a_finished_run_leaves_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    journal = Journal(path)
    journal.add([FIRST])

    journal.delete()

    assert not path.exists()
