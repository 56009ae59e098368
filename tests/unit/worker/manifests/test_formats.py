"""Formats of manifests: each is cut into the same rows, wherever it is cut."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from common import problems
from common.problems import Problem
from common.settings import Settings
from common.uploads import StoredFile, UploadsUnavailable
from worker.manifests.formats import format_of, formats
from worker.manifests.rows import Row
from worker.manifests.tables import READ_ROWS

ROWS = 50
NAMES = [f"a, “{number}”\n.jpg" if number % 7 == 0 else f"{number}.jpg" for number in range(ROWS)]


def json_lines(path: Path) -> None:
    path.write_text("".join(f"{json.dumps({'file_name': name, 'other': 1})}\n\n" for name in NAMES), encoding="utf-8")


def plain_json_lines(path: Path) -> None:
    path.write_text("\ufeff" + "\n".join(map(json.dumps, NAMES)), encoding="utf-8")


def csv_file(path: Path) -> None:
    text = io.StringIO(newline="")
    rows = [[f'say "{number}"\r\n', name] for number, name in enumerate(NAMES)]
    csv.writer(text).writerows([["label", "url"], *rows])
    path.write_text(f"\ufeff{text.getvalue()}\r\n", encoding="utf-8", newline="")


def parquet_file(path: Path, row_group_size: int = 7) -> None:
    parquet.write_table(pyarrow.table({"url": NAMES}), path, row_group_size=row_group_size)


def one_row_group(path: Path) -> None:
    parquet_file(path, ROWS)


def tar_file(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for name in NAMES:
            for suffix in (".jpg", ".txt"):
                member = tarfile.TarInfo(name.removesuffix(".jpg") + suffix)
                member.size = 5
                tar.addfile(member, io.BytesIO(b"bytes"))


MANIFESTS = [
    ("m.jsonl", json_lines),
    ("m.ndjson", plain_json_lines),
    ("m.csv", csv_file),
    ("m.parquet", parquet_file),
    ("m.parquet", one_row_group),
    ("m.tar", tar_file),
]


def read(path: Path, count: int, start: int = 0) -> tuple[list[tuple[int, int]], list[Row]]:
    """The ranges of a file, and the rows of all of them."""
    format = format_of(formats(Settings(max_upload_bytes=10)), path.name)
    with path.open("rb") as file:
        ranges = list(format.cut(file, start, count))
        return ranges, [row for first, end in ranges for row in format.rows(file, first, end)]


def rows_of(path: Path) -> list[Row]:
    return read(path, 1000)[1]


@pytest.mark.parametrize(("name", "write"), MANIFESTS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("count", [1, 7, 10, 1000])
def test_every_row_is_in_one_range(name: str, write: Callable[[Path], None], count: int, tmp_path: Path) -> None:
    write(tmp_path / name)
    ranges, rows = read(tmp_path / name, count)

    assert [row.name for row in rows] == NAMES
    assert len(ranges) >= ROWS // count
    assert [end for _, end in ranges[:-1]] == [start for start, _ in ranges[1:]]


@pytest.mark.parametrize(("name", "write"), MANIFESTS, ids=lambda value: getattr(value, "__name__", ""))
def test_cutting_continues_at_the_end_of_any_range(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / name)
    ranges, _ = read(tmp_path / name, 10)

    for number, (start, _) in enumerate(ranges):
        assert read(tmp_path / name, 10, start)[0] == ranges[number:]
    assert read(tmp_path / name, 10, ranges[-1][1])[0] == []


def test_ranges_of_a_table_end_with_its_row_groups(tmp_path: Path) -> None:
    parquet_file(tmp_path / "m.parquet")

    assert read(tmp_path / "m.parquet", 15)[0] == [(0, 14), (14, 28), (28, 42), (42, 50)]


def test_an_object_may_name_a_custom_id(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"url": "s3://b/a.jpg", "custom_id": 17}\n{"file_name": "b.jpg"}', encoding="utf-8")

    assert rows_of(path) == [Row("s3://b/a.jpg", "17"), Row("b.jpg")]


@pytest.mark.parametrize(
    "line",
    [b"{", b"17", b"[]", b"{}", b'{"url": 17}', b'{"url": ""}', b"\xff", b'"\\ud800"', b"[" * 2000,
     json.dumps({"url": "a" * 2001}).encode(), json.dumps({"url": "a", "custom_id": "b" * 1001}).encode()],
)  # fmt: skip
def test_a_bad_line_costs_itself_only(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'"a.jpg"\n' + line + b'\n"b.jpg"\n')

    first, bad, last = rows_of(path)
    assert (first.name, last.name) == ("a.jpg", "b.jpg")
    assert bad.problem and bad.problem.kind is problems.BAD_MANIFEST_ROW


def test_a_bad_row_of_csv_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"file_name,custom_id\na.jpg,1\nb.jpg\n,2\n\xff,3\nc.jpg,\n")

    rows = rows_of(path)
    assert [(row.name, row.custom_id) for row in rows] == [
        ("a.jpg", "1"), (None, None), (None, None), (None, None), ("c.jpg", None)
    ]  # fmt: skip
    assert all(row.problem and row.problem.kind is problems.BAD_MANIFEST_ROW for row in rows[1:4])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.jsonl", b'"' + b"a" * 2**20 + b'"'),
        ("m.csv", b"a,b\n1,2\n"),
        ("m.csv", b""),
        ("m.csv", b'url\n"never closed\n' + b"a\n" * 2**19),
        ("m.parquet", b"PAR1 is not enough"),
        ("m.parquet", b""),
        ("m.tar", b"no tar file" * 100),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(Problem) as raised:
        rows_of(tmp_path / name)
    assert raised.value.kind is problems.BAD_MANIFEST


@pytest.mark.parametrize(("name", "write"), MANIFESTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_store_that_is_away_is_no_damage(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / name)
    format = format_of(formats(Settings()), name)
    with (tmp_path / name).open("rb") as local:

        @contextmanager
        def store_errors() -> Iterator[None]:
            if local.tell() > 100:
                raise UploadsUnavailable
            yield

        with io.BufferedReader(StoredFile(local, store_errors), 64) as file, pytest.raises(UploadsUnavailable):
            list(format.cut(file, 0, 10))
            list(format.rows(file, 0, 10**6))


def test_a_damaged_page_of_a_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    parquet_file(path)
    path.write_bytes(b"PAR1" + b"\xff" * 20 + path.read_bytes()[24:])

    with pytest.raises(Problem) as raised:
        rows_of(path)
    assert raised.value.kind is problems.BAD_MANIFEST


def test_a_table_without_names_of_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    parquet.write_table(pyarrow.table({"text": ["a"]}), path)

    with pytest.raises(Problem, match="no column"):
        rows_of(path)


def test_pictures_in_a_table_have_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    images: list[dict[str, Any]] = [
        {"bytes": b"one", "path": "1.jpg"}, {"bytes": b"two", "path": None}, {"bytes": None, "path": "3.jpg"}
    ]  # fmt: skip
    parquet.write_table(pyarrow.table({"image": images, "custom_id": [1, 2, 3]}), path)

    assert rows_of(path) == [Row("1.jpg", "1", b"one"), Row("1", "2", b"two"), Row("3.jpg", "3")]


def test_a_column_of_bytes_is_one_of_pictures(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    count = 2 * READ_ROWS + 1
    parquet.write_table(pyarrow.table({"image": [b"%d" % number for number in range(count)]}), path)

    assert rows_of(path) == [Row(f"{number}", None, b"%d" % number) for number in range(count)]


def test_members_of_a_tar_file_have_their_key_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.tar"
    members = {"a/0.b.JPG": b"one", "a/._0.JPG": b"metadata of macOS", "1.png": b"x" * 11, "1.json": b"{}"}
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)

    first, large = rows_of(path)
    assert first == Row("a/0.b.JPG", "a/0", b"one")
    assert large.custom_id == "1" and large.problem and large.problem.kind is problems.UPLOAD_TOO_LARGE


def test_what_precedes_the_damage_of_a_tar_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.tar"
    tar_file(path)
    path.write_bytes(path.read_bytes()[: 512 * 41])  # between the header and the data of the ninth picture

    format = format_of(formats(Settings()), path.name)
    ranges = []
    with path.open("rb") as file, pytest.raises(Problem, match="damaged"):
        for each in format.cut(file, 0, 6):
            ranges.append(each)
    with path.open("rb") as file:
        assert sum(len(list(format.rows(file, start, end))) for start, end in ranges) == 9
