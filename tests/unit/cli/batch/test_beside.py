"""Captions are written beside their images or into them, and writing one twice changes nothing."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from cli.batch import BatchError
from cli.batch.beside import Embedded, TextSidecars, XmpSidecars
from cli.batch.exiftool import ExifTool
from cli.batch.journal import Caption
from cli.batch.outputs import Existing
from cli.batch.sources import Source
from common import xmp
from tests.support.images import encoded


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """The image a.jpg, which is empty."""
    (tmp_path / "a.jpg").touch()
    return Source(str(tmp_path / "a.jpg"))


class TestSidecars:
    @pytest.mark.parametrize(
        ("existing", "content"),
        [("overwrite", "new\n"), ("append", "old, new\n"), ("prepend", "new, old\n")],
    )
    def test_a_caption_that_is_there_is_kept_as_asked(
        self, existing: Existing, content: str, source: Source, tmp_path: Path
    ) -> None:
        (tmp_path / "a.txt").write_text("old\n")
        sidecars = TextSidecars(".txt", existing)

        planned = sidecars.plan(source, Caption(source.location, "new", -1.0))
        for _ in range(2):
            sidecars.write([planned])

        assert (tmp_path / "a.txt").read_text() == content

    def test_an_image_without_a_sidecar_gets_one(self, source: Source, tmp_path: Path) -> None:
        sidecars = TextSidecars(".caption", "append")
        assert not sidecars.has(source)

        sidecars.write([sidecars.plan(source, Caption(source.location, "new", -1.0))])

        assert (tmp_path / "a.caption").read_text() == "new\n"
        assert sidecars.has(source)

    def test_a_sidecar_changed_since_it_was_planned_is_left_alone(self, source: Source, tmp_path: Path) -> None:
        sidecars = TextSidecars(".txt", "overwrite")
        planned = sidecars.plan(source, Caption(source.location, "new", -1.0))
        (tmp_path / "a.txt").write_text("by hand\n")

        sidecars.write([planned])

        assert (tmp_path / "a.txt").read_text() == "by hand\n"

    def test_two_images_with_one_sidecar_are_refused_while_both_are_there(self, tmp_path: Path) -> None:
        first, second = (Source(str(tmp_path / name)) for name in ("a.jpg", "a.png"))
        Path(first.location).touch()
        sidecars = TextSidecars(".txt", "skip")
        sidecars.check(first)
        sidecars.check(first)

        with pytest.raises(BatchError, match=r"a\.jpg and \S+a\.png would share"):
            sidecars.check(second)

        Path(first.location).unlink()
        sidecars.check(second)

    def test_urls_have_no_sidecars(self) -> None:
        with pytest.raises(BatchError, match="--out"):
            TextSidecars(".txt", "skip").check(Source("s3://bucket/a.jpg"))

    def test_an_image_that_disappeared_gets_no_sidecar(self, tmp_path: Path) -> None:
        source = Source(str(tmp_path / "gone.jpg"))
        sidecars = TextSidecars(".txt", "skip")

        assert sidecars.write([sidecars.plan(source, Caption(source.location, "new", -1.0))]) == {}

        assert list(tmp_path.iterdir()) == []

    def test_a_sidecar_that_cannot_be_written_is_a_problem_of_its_image_only(self, tmp_path: Path) -> None:
        sources = [Source(str(tmp_path / name)) for name in ("a.jpg", "b.jpg")]
        sidecars = TextSidecars(".txt", "overwrite")
        for source in sources:
            Path(source.location).touch()
        planned = [sidecars.plan(source, Caption(source.location, "new", -1.0)) for source in sources]
        (tmp_path / "a.txt.saving").mkdir()

        refused = sidecars.write(planned)

        assert [(image, problem.detail) for image, problem in refused.items()] == [
            (sources[0].location, f"{tmp_path / 'a.txt'} cannot be written: Is a directory.")
        ]
        assert (tmp_path / "b.txt").read_text() == "new\n"


class TestXmpSidecars:
    def test_the_sidecar_is_named_after_the_whole_image(self, tmp_path: Path) -> None:
        sources = [Source(str(tmp_path / name)) for name in ("a.jpg", "a.png")]
        for source in sources:
            Path(source.location).touch()
        sidecars = XmpSidecars("skip")
        for source in sources:
            sidecars.check(source)

        sidecars.write([sidecars.plan(source, Caption(source.location, "new", -1.0)) for source in sources])

        for name in ("a.jpg.xmp", "a.png.xmp"):
            assert xmp.description((tmp_path / name).read_text()) == "new"

    @pytest.mark.parametrize(
        ("image", "sidecar"), [("a.CR2", "a.xmp"), ("a.nef", "a.xmp"), ("a.dng", "a.dng.xmp"), ("a.tif", "a.tif.xmp")]
    )
    def test_the_sidecar_of_a_raw_file_is_named_as_lightroom_names_it(self, image: str, sidecar: str) -> None:
        assert XmpSidecars("skip").path(Path(image)) == Path(sidecar)

    def test_a_sidecar_without_a_description_counts_as_missing(self, source: Source, tmp_path: Path) -> None:
        sidecars = XmpSidecars("append")
        (tmp_path / "a.jpg.xmp").write_text(xmp.EMPTY)
        assert not sidecars.has(source)

        for caption in ("one", "two"):
            sidecars.write([sidecars.plan(source, Caption(source.location, caption, -1.0))])

        assert sidecars.has(source)
        assert xmp.description((tmp_path / "a.jpg.xmp").read_text()) == "one, two"

    def test_alternative_text_alone_leaves_the_description(self, source: Source, tmp_path: Path) -> None:
        sidecar = tmp_path / "a.jpg.xmp"
        sidecar.write_text(xmp.with_caption(None, lambda _: "by hand", (xmp.DESCRIPTION,)))
        sidecars = XmpSidecars("skip", (xmp.ALT_TEXT,))
        assert not sidecars.has(source)

        sidecars.write([sidecars.plan(source, Caption(source.location, "A dog.", -1.0))])

        assert sidecars.has(source)
        assert xmp.description(sidecar.read_text()) == "by hand"
        assert xmp.description(sidecar.read_text(), xmp.ALT_TEXT) == "A dog."


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
class TestEmbedded:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        (tmp_path / "a.jpg").write_bytes(encoded())
        return Source(str(tmp_path / "a.jpg"))

    @pytest.mark.parametrize(
        ("existing", "caption"), [("overwrite", "new"), ("append", "old, new"), ("prepend", "new, old")]
    )
    def test_a_caption_in_the_image_is_kept_as_asked(self, existing: Existing, caption: str, source: Source) -> None:
        with closing(Embedded(existing)) as embedded:
            assert not embedded.has(source)
            embedded.write([embedded.plan(source, Caption(source.location, "old", -1.0))])
            assert embedded.has(source)

            planned = embedded.plan(source, Caption(source.location, "new", -1.0))
            for _ in range(2):
                assert embedded.write([planned]) == {}

        with closing(ExifTool()) as exiftool:
            assert exiftool.read(Path(source.location), xmp.DESCRIPTION) == caption

    def test_raw_files_are_refused(self, tmp_path: Path) -> None:
        with closing(Embedded("skip")) as embedded, pytest.raises(BatchError, match=r"a\.nef is a RAW file.*--xmp"):
            embedded.check(Source(str(tmp_path / "a.nef")))

    def test_an_image_that_takes_no_metadata_is_a_problem_of_its_own(self, source: Source) -> None:
        Path(source.location).write_bytes(encoded(format="BMP"))
        with closing(Embedded("skip")) as embedded:
            refused = embedded.write([embedded.plan(source, Caption(source.location, "new", -1.0))])

        assert list(refused) == [source.location]
