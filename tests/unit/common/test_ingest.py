"""Names of images: base names for people, and paths as `custom_id`."""

from __future__ import annotations

import pytest

from common.ingest import MAX_CUSTOM_ID_LENGTH, MAX_NAME_LENGTH, clean_filename, clean_path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.jpg", "a.jpg"),
        ("summer/a.jpg", "summer/a.jpg"),
        ("summer\\a.jpg", "summer/a.jpg"),
        ("/etc/a.jpg", "etc/a.jpg"),
        ("../../a.jpg", "a.jpg"),
        ("./a/./b.jpg", "a/b.jpg"),
        ("a\0/b\n.jpg", "a/b.jpg"),
        ("写真/夏.jpg", "写真/夏.jpg"),
        ("", "picture"),
        (None, "picture"),
        ("../", "picture"),
    ],
)
def test_a_path_keeps_its_folders_and_stays_below_them(name: str | None, path: str) -> None:
    assert clean_path(name) == path
    assert clean_filename(name) == path.rpartition("/")[2]


def test_long_names_lose_their_beginning() -> None:
    name = "a" * 2000 + "/" + "b" * 2000

    assert clean_filename(name) == "b" * MAX_NAME_LENGTH
    assert clean_path(name) == "b" * MAX_CUSTOM_ID_LENGTH
