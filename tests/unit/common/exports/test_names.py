"""Paths in exports stay below their folder, and fit into file systems."""

from __future__ import annotations

import pytest

from common.exports.export import Names
from common.exports.names import MAX_PART_BYTES, SidecarNames, relative_path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("Kätzchen 10:30 (1).jpg", "Kätzchen 10:30 (1).jpg"),
        (".hidden/..b.jpg", ".hidden/..b.jpg"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("C:\\photos\\..\\a.jpg", "photos/a.jpg"),
        ("a/C:../b.jpg", "a/b.jpg"),
        ("a/.. /b.jpg", "a/b.jpg"),
        ("a" * 9 + "C:" + "b" * (MAX_PART_BYTES - 2), "b" * (MAX_PART_BYTES - 2)),
        ("a" + "." * MAX_PART_BYTES, "picture"),
        ("a//./b.jpg", "a/b.jpg"),
        ("a\x00\n\x85.jpg", "a.jpg"),
        ("", "picture"),
        ("..", "picture"),
    ],
)
def test_a_name_becomes_a_path_below_the_folder(name: str, path: str) -> None:
    assert relative_path(name) == path


def test_long_parts_keep_their_ends() -> None:
    path = relative_path("ä" * 400 + "/" + "b" * 400 + ".jpg")

    folder, file = path.split("/")
    assert (folder, file) == ("ä" * (MAX_PART_BYTES // 2), "b" * (MAX_PART_BYTES - 4) + ".jpg")


def test_deep_paths_keep_their_last_parts_and_fit_into_linux_s_limit() -> None:
    path = relative_path("/".join(["d" * 300] * 50 + ["a.jpg"]))

    assert path.endswith("d/a.jpg") and len(path) < 4096


def test_thousands_of_equal_names_are_numbered() -> None:
    names = SidecarNames(".txt", Names.APPEND)

    given = {names.give("a.jpg") for _ in range(5000)}

    assert len(given) == 5000 and "a.jpg (5000).txt" in given


def test_an_xmp_sidecar_of_a_raw_file_is_named_as_lightroom_names_it() -> None:
    names = SidecarNames(".xmp", Names.APPEND)

    assert [names.give(image) for image in ("b/a.cr2", "b/a.jpg", "b/a.dng")] == [
        "b/a.xmp",
        "b/a.jpg.xmp",
        "b/a.dng.xmp",
    ]
