"""Where manifests and pictures may be: below a root, by a path that does not leave it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from common import problems
from common.manifests import ManifestSource, ResultStore, check_url, expand, folder_of, join, suffix_of
from common.problems import Problem
from common.settings import Settings, SettingsError
from common.uploads import UploadsUnavailable

ROOTS = ["s3://bucket/photos", "file:///srv"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    for name in ("b.jpg", "a.jpg", "sub/c.jpg"):
        (tmp_path / "root" / name).write_bytes(name.encode())
    return tmp_path / "root"


@pytest.fixture
def source(root: Path) -> ManifestSource:
    return ManifestSource([f"file://{root}"])


def kind_of(action: Callable[[], Any]) -> problems.Kind:
    with pytest.raises(Problem) as raised:
        action()
    return raised.value.kind


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("s3://bucket/photos/a.jpg", "a.jpg"),
            ("s3://bucket/photos/a b/c?d#e%2e.jpg", "a b/c?d#e%2e.jpg"),
            ("s3://bucket/photos/", ""),
            ("file:///srv/..a/b..jpg", "..a/b..jpg"),
        ],
    )
    def test_a_url_is_a_path_below_its_root(self, url: str, path: str) -> None:
        assert check_url(url, ROOTS)[1] == path

    @pytest.mark.parametrize(
        "url",
        [
            "s3://bucket/photos2/a.jpg",
            "s3://bucket/a.jpg",
            "s3://Bucket/photos/a.jpg",
            "S3://bucket/photos/a.jpg",
            "s3://bucket/photos/../a.jpg",
            "s3://bucket/photos/./a.jpg",
            "s3://bucket/photos//a.jpg",
            "file:///srv/a\0.jpg",
            "file://srv/a.jpg",
            "file:///srv/" + "a" * 2000,
            "/srv/a.jpg",
            "zip://a.jpg::file:///srv/a.zip",
            "",
        ],
    )
    def test_any_other_url_is_refused(self, url: str) -> None:
        assert kind_of(lambda: check_url(url, ROOTS)) is problems.URL_NOT_ALLOWED

    def test_names_are_relative_to_their_manifest(self) -> None:
        folder = folder_of("s3://bucket/photos/all.jsonl")

        assert join(folder, "sub/a.jpg") == "s3://bucket/photos/sub/a.jpg"
        assert join(folder, "./a.jpg") == "s3://bucket/photos/a.jpg"
        assert join(folder, "s3://other/a.jpg") == "s3://other/a.jpg"
        assert join(folder, "/srv/a.jpg") == "file:///srv/a.jpg"
        assert folder_of("s3://bucket/photos/") == "s3://bucket/photos"

    def test_a_range_of_numbers_stands_for_files(self) -> None:
        assert expand("s3://b/a-{008..010}.tar") == ["s3://b/a-008.tar", "s3://b/a-009.tar", "s3://b/a-010.tar"]
        assert expand("s3://b/a.tar") == ["s3://b/a.tar"]
        for wrong in ("s3://b/{3..1}.tar", "s3://b/{0..100000}.tar"):
            assert kind_of(lambda wrong=wrong: expand(wrong)) is problems.BAD_MANIFEST  # type: ignore[misc]

    @pytest.mark.parametrize(("url", "suffix"), [("a/b.JSONL", ".jsonl"), ("a/", ""), ("a", None), ("a.txt", None)])
    def test_the_suffix_tells_the_format(self, url: str, suffix: str | None) -> None:
        assert suffix_of(url) == suffix


class TestSource:
    def test_a_file_is_read_up_to_a_limit(self, source: ManifestSource, root: Path) -> None:
        (root / "empty.jpg").touch()

        assert source.read(f"file://{root}/sub/c.jpg", 9) == b"sub/c.jpg"
        assert source.read(f"file://{root}/empty.jpg", 9) == b""
        assert kind_of(lambda: source.read(f"file://{root}/sub/c.jpg", 8)) is problems.UPLOAD_TOO_LARGE

    def test_a_folder_is_listed_by_name_with_its_subfolders_last(self, source: ManifestSource, root: Path) -> None:
        (root / "link.jpg").symlink_to(root / "a.jpg")
        (root / "linked").symlink_to(root / "sub")

        listed = [url.removeprefix(f"file://{root}/") for url in source.list(f"file://{root}/")]

        assert listed == ["a.jpg", "b.jpg", "sub/c.jpg"]
        assert list(source.list(f"file://{root}/sub/")) == [f"file://{root}/sub/c.jpg"]

    def test_links_out_of_a_root_are_not_followed_but_the_root_may_be_a_link(self, root: Path) -> None:
        (root.parent / "alias").symlink_to(root)
        (root / "out").symlink_to(root.parent)
        source = ManifestSource([f"file://{root.parent}/alias"])

        assert source.read(f"file://{root.parent}/alias/a.jpg", 9) == b"a.jpg"
        for name in ("out/root/a.jpg", "out/alias/a.jpg", "sub"):
            url = f"file://{root.parent}/alias/{name}"
            assert kind_of(lambda url=url: source.read(url, 9)) is problems.URL_NOT_ALLOWED  # type: ignore[misc]

    def test_a_missing_file_is_told_from_a_store_that_is_away(self, source: ManifestSource, root: Path) -> None:
        url = f"file://{root}/missing.jpg"

        assert kind_of(lambda: source.read(url, 9)) is problems.FILE_UNREADABLE
        assert kind_of(lambda: source.open(url).__enter__()) is problems.BAD_MANIFEST
        root.rename(root.parent / "away")
        for action in (lambda: source.read(url, 9), lambda: source.open(url).__enter__()):
            with pytest.raises(UploadsUnavailable):
                action()

    def test_a_passing_error_is_tried_again(
        self, source: ManifestSource, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, errors = LocalFileSystem.cat_file, [RuntimeError("reset by peer")]

        def unsteady(self: LocalFileSystem, path: str, **options: Any) -> bytes:
            if errors:
                raise errors.pop()
            return bytes(read(self, path, **options))

        monkeypatch.setattr(LocalFileSystem, "cat_file", unsteady)

        assert source.read(f"file://{root}/a.jpg", 9) == b"a.jpg"


class TestResults:
    def test_files_are_replaced_below_the_url_only(self, tmp_path: Path) -> None:
        store = ResultStore(f"file://{tmp_path}/results")
        store.create()
        folder = f"file://{tmp_path}/results/a/b"
        for content in (b"once", b"again"):
            store.write(folder, "part", io.BytesIO(content))

        assert os.listdir(tmp_path / "results" / "a" / "b") == ["part"]
        assert (tmp_path / "results" / "a" / "b" / "part").read_bytes() == b"again"
        assert kind_of(lambda: store.write(f"file://{tmp_path}/other", "part", io.BytesIO())) is (
            problems.URL_NOT_ALLOWED
        )

    def test_a_folder_that_is_away_is_not_created(self, tmp_path: Path) -> None:
        store = ResultStore(f"file://{tmp_path}/results")

        with pytest.raises(UploadsUnavailable):
            store.write(f"file://{tmp_path}/results/a", "part", io.BytesIO(b"x"))
        assert os.listdir(tmp_path) == []


class TestSettings:
    def test_roots_are_folders_and_buckets(self, tmp_path: Path) -> None:
        settings = Settings(manifest_roots=f"s3://bucket/photos/ {tmp_path}/", data=tmp_path)

        assert settings.manifest_root_urls == ["s3://bucket/photos", f"file://{tmp_path}"]
        assert settings.results_location == f"file://{tmp_path}/results"

    @pytest.mark.parametrize("root", ["https://example.com", "zip://a.zip::file:///srv", "unknown://bucket"])
    def test_other_roots_are_refused(self, root: str) -> None:
        with pytest.raises(SettingsError, match="CAPTIOND_MANIFEST_ROOTS"):
            Settings(manifest_roots=f"s3://bucket {root}")
