"""Every format gives the same captioned images, and reports what is wrong with an invalid file."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.coco import packed, write_coco
from training.data import formats
from training.data.images import CaptionedImage, DataError


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    return write_coco(tmp_path)


def contents(images: list[CaptionedImage]) -> list[tuple[bytes, tuple[str, ...]]]:
    return [(image.source.read(image.file_name), image.captions) for image in images]


class TestCoco:
    def test_images_are_read_with_their_captions(self, coco: tuple[Path, Path]) -> None:
        images = formats.read([f"coco:{coco[0]}:{coco[1]}"])

        assert [image.id for image in images] == list(range(100, 108))
        assert images[0].captions == ("A red ball lies on field a.", "A red ball lies on field b.")

    def test_images_are_read_from_a_tar(self, coco: tuple[Path, Path]) -> None:
        folder, tar = (formats.read([f"coco:{coco[0]}:{place}"]) for place in (coco[1], packed(coco[1])))

        assert contents(folder) == contents(tar)

    def test_an_image_without_a_caption_is_skipped(self, coco: tuple[Path, Path]) -> None:
        listing = json.loads(coco[0].read_text())
        listing["annotations"] = listing["annotations"][2:]
        coco[0].write_text(json.dumps(listing))

        assert len(formats.read([f"coco:{coco[0]}:{coco[1]}"])) == 7

    def test_null_and_empty_captions_are_skipped_and_counted(
        self, coco: tuple[Path, Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        listing = json.loads(coco[0].read_text())
        listing["annotations"][1]["caption"] = None
        listing["annotations"][2]["caption"] = " "
        coco[0].write_text(json.dumps(listing))

        images = formats.read([f"coco:{coco[0]}:{coco[1]}"])

        assert [len(image.captions) for image in images] == [1, 1, 2, 2, 2, 2, 2, 2]
        assert "2 of the 16 captions in" in caplog.text
        assert "the first is in entry 2 of `annotations`" in caplog.text

    @pytest.mark.parametrize(
        ("changed", "sentence"),
        [
            (
                str,
                "8 images and 16 captions, and no id in common: ids are text in `annotations` and numbers in `images`",
            ),
            (lambda number: number + 1000, "no id in common: the first are 1100 in `annotations` and 100 in `images`"),
        ],
    )
    def test_captions_without_matching_image_ids_are_refused(
        self, coco: tuple[Path, Path], changed: Callable[[int], object], sentence: str
    ) -> None:
        listing = json.loads(coco[0].read_text())
        for annotation in listing["annotations"]:
            annotation["image_id"] = changed(annotation["image_id"])
        coco[0].write_text(json.dumps(listing))

        with pytest.raises(DataError, match=sentence):
            formats.read([f"coco:{coco[0]}:{coco[1]}"])

    def test_captions_of_unlisted_images_are_counted(
        self, coco: tuple[Path, Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        listing = json.loads(coco[0].read_text())
        del listing["images"][3:]
        coco[0].write_text(json.dumps(listing))

        assert len(formats.read([f"coco:{coco[0]}:{coco[1]}"])) == 3
        assert "10 captions in" in caplog.text

    def test_ids_may_be_strings_or_integral_floats(self, coco: tuple[Path, Path]) -> None:
        for changed in (str, float):
            listing = json.loads(coco[0].read_text())
            for annotation in listing["annotations"]:
                annotation["image_id"] = changed(annotation["image_id"])
            for entry in listing["images"]:
                entry["id"] = changed(entry["id"])
            path = coco[0].with_name(f"{changed.__name__}.json")
            path.write_text(json.dumps(listing))

            ids = [image.id for image in formats.read([f"coco:{path}:{coco[1]}"])]

            assert ids == [changed(number) for number in range(100, 108)]

    def test_a_duplicate_id_is_refused(self, coco: tuple[Path, Path]) -> None:
        listing = json.loads(coco[0].read_text())
        listing["images"][1]["id"] = 100
        coco[0].write_text(json.dumps(listing))

        with pytest.raises(DataError, match=r"the id 100 to 000000000100\.jpg and to 000000000101\.jpg"):
            formats.read([f"coco:{coco[0]}:{coco[1]}"])

    def test_a_missing_caption_file_is_named(self, coco: tuple[Path, Path]) -> None:
        with pytest.raises(DataError, match=r"no caption file .*nowhere\.json"):
            formats.read([f"coco:{coco[0].with_name('nowhere.json')}:{coco[1]}"])

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("{", "not a JSON file: line 1, column 2"),
            ('{"images": [], "annotations": []}', "0 images and 0 captions"),
            ('{"images": [{"id": null, "file_name": "a"}], "annotations": []}', "entry 1 of `images` has no `id`"),
            ('{"images": [], "annotations": [{"image_id": 1}]}', "entry 1 of `annotations` has no `image_id` with a"),
            ("[]", "COCO's layout"),
            ('{"images": []}', "COCO's layout"),
            ('{"images": [{}], "annotations": [{}]}', "COCO's layout"),
        ],
    )
    def test_an_invalid_file_is_refused(self, coco: tuple[Path, Path], content: str, words: str) -> None:
        coco[0].write_text(content)

        with pytest.raises(DataError, match=words):
            formats.read([f"coco:{coco[0]}:{coco[1]}"])


class TestKarpathy:
    @pytest.fixture
    def split(self, coco: tuple[Path, Path]) -> str:
        """The same images, two of each part, in Karpathy's form; the file, and where the images are."""
        image_folder = [
            {
                "imgid": number,
                "cocoid": 100 + number,
                "filepath": coco[1].name,
                "filename": f"{100 + number:012d}.jpg",
                "split": ("train", "restval", "val", "test")[number % 4],
                "sentences": [{"raw": f" Ball {number}. "}],
            }
            for number in range(8)
        ]
        path = coco[0].with_name("dataset_coco.json")
        path.write_text(json.dumps({"dataset": "coco", "images": image_folder}))
        return f"{path}:{coco[1].parent}"

    @pytest.mark.parametrize(
        ("part", "ids"), [("train", [100, 101, 104, 105]), ("val", [102, 106]), ("test", [103, 107])]
    )
    def test_parts_are_read_and_restval_belongs_to_train(self, split: str, part: str, ids: list[int]) -> None:
        images = formats.read([f"karpathy:{part}:{split}"])

        assert [image.id for image in images] == ids
        assert images[0].captions == (f"Ball {ids[0] - 100}.",)
        assert all(image.load().width == 320 for image in images)

    def test_file_path_and_coco_id_are_optional(self, split: str, coco: tuple[Path, Path]) -> None:
        path = Path(split.split(":")[0])
        listing = json.loads(path.read_text())
        for entry in listing["images"]:
            del entry["filepath"], entry["cocoid"]
        path.write_text(json.dumps(listing))

        images = formats.read([f"karpathy:val:{path}:{packed(coco[1])}"])

        assert [image.id for image in images] == [2, 6]
        assert images[0].load().width == 320

    def test_an_empty_part_is_refused_with_the_list_of_parts(self, split: str, coco: tuple[Path, Path]) -> None:
        path = Path(split.split(":")[0])
        listing = json.loads(path.read_text())
        listing["images"] = [entry for entry in listing["images"] if entry["split"] != "val"]
        path.write_text(json.dumps(listing))

        with pytest.raises(DataError, match=r"no image of the part val\. Its parts: train \(2\), restval \(2\), test"):
            formats.read([f"karpathy:val:{split}"])

    def test_a_null_caption_is_skipped(self, split: str, caplog: pytest.LogCaptureFixture) -> None:
        path = Path(split.split(":")[0])
        listing = json.loads(path.read_text())
        listing["images"][2]["sentences"].append({"raw": None})
        path.write_text(json.dumps(listing))

        assert formats.read([f"karpathy:val:{split}"])[0].captions == ("Ball 2.",)
        assert "1 of the 3 captions in" in caplog.text

    def test_an_invalid_file_is_refused(self, coco: tuple[Path, Path]) -> None:
        with pytest.raises(DataError, match=r"Karpathy's split, .*entry 1 of `images`"):
            formats.read([f"karpathy:val:{coco[0]}:{coco[1]}"])


class TestJsonLines:
    def test_paths_are_relative_to_the_file(self, coco: tuple[Path, Path]) -> None:
        expected = formats.read([f"coco:{coco[0]}:{coco[1]}"])
        path = coco[0].with_name("data.jsonl")
        path.write_text(
            "\n".join(
                json.dumps({"image": f"{coco[1].name}/{image.file_name}", "captions": image.captions})
                for image in expected
            )
            + "\n\n"
        )

        images = formats.read([f"jsonl:{path}"])

        assert contents(images) == contents(expected)
        assert [each.id for each in images] == [each.id for each in formats.read([f"jsonl:{path}"])]

    def test_a_line_may_contain_an_id(self, tmp_path: Path) -> None:
        (tmp_path / "data.jsonl").write_text('{"image": "a.jpg", "captions": ["A ball."], "id": 9}')

        assert formats.read([f"jsonl:{tmp_path / 'data.jsonl'}"])[0].id == 9

    def test_captions_of_several_lines_are_joined(self, tmp_path: Path) -> None:
        path = tmp_path / "data.jsonl"
        path.write_text(
            '{"image": "a.jpg", "caption": "A ball.", "id": "x"}\n{"image": "b.jpg", "caption": "A box."}\n'
            '{"image": "a.jpg", "captions": ["A red ball.", null]}\n'
        )

        images = formats.read([f"jsonl:{path}"])

        assert [(image.file_name, image.captions) for image in images] == [
            ("a.jpg", ("A ball.", "A red ball.")),
            ("b.jpg", ("A box.",)),
        ]
        assert images[0].id == "x"

    @pytest.mark.parametrize(
        ("first", "second", "sentence"),
        [
            ('"a.jpg", "id": 1', '"b.jpg", "id": 1', r"Lines 1 and 2 of .*the id 1 to two images, a\.jpg and b\.jpg"),
            ('"a.jpg", "id": 1', '"a.jpg", "id": 2', r"Line 2 of .* gives a\.jpg the id 2, and line 1 gave it 1"),
            ('"a.jpg"', '"a.jpg", "id": 2', r"Line 2 of .* gives a\.jpg the id 2, and line 1 gave it none"),
        ],
    )
    def test_contradictory_lines_are_refused(self, tmp_path: Path, first: str, second: str, sentence: str) -> None:
        path = tmp_path / "data.jsonl"
        path.write_text("".join(f'{{"image": {each}, "caption": "A ball."}}\n' for each in (first, second)))

        with pytest.raises(DataError, match=sentence):
            formats.read([f"jsonl:{path}"])

    def test_a_lone_surrogate_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "data.jsonl"
        path.write_text('{"image": "a.jpg", "caption": "A ball \\ud83d"}')

        assert formats.read([f"jsonl:{path}"])[0].captions == ("A ball \ufffd",)

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_windows_encodings_are_read(self, tmp_path: Path, encoding: str, end: str) -> None:
        path = tmp_path / "data.jsonl"
        line = '{"image": "sub\\\\a.jpg", "caption": "Ein Café\u2028am See."}'
        path.write_bytes((line + end + line + end).encode(encoding))
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "a.jpg").write_bytes(b"its bytes")

        (image,) = formats.read([f"jsonl:{path}"])

        assert image.captions == ("Ein Café\u2028am See.",) * 2
        assert image.source.read(image.file_name) == b"its bytes"

    def test_another_encoding_is_refused_with_its_line(self, tmp_path: Path) -> None:
        path = tmp_path / "data.jsonl"
        lines = '{"image": "a.jpg", "caption": "A ball."}\r\n{"image": "b.jpg", "caption": "Ein Café."}\r\n'
        path.write_bytes(lines.encode("cp1252"))

        with pytest.raises(DataError, match=r"Line 2 of .*data\.jsonl is not in UTF-8: .*0xE9.*Save the file as UTF-8"):
            formats.read([f"jsonl:{path}"])

    def test_an_empty_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "data.jsonl").write_text("\n\n")

        with pytest.raises(DataError, match=r"data\.jsonl has no lines"):
            formats.read([f"jsonl:{tmp_path / 'data.jsonl'}"])

    @pytest.mark.parametrize(
        "line",
        [
            "{",
            "[]",
            '{"image": "a.jpg"}',
            '{"image": "a.jpg", "captions": "A ball."}',
            '{"image": 7, "caption": "A ball."}',
            '{"image": "a.jpg", "caption": "A ball.", "id": 1.5}',
        ],
    )
    def test_an_invalid_line_is_named(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "data.jsonl"
        path.write_text('{"image": "a.jpg", "captions": ["A ball."]}\n' + line)

        with pytest.raises(DataError, match=r"Line 2 of .*data\.jsonl"):
            formats.read([f"jsonl:{path}"])

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no caption file .*nowhere\.jsonl"):
            formats.read([f"jsonl:{tmp_path / 'nowhere.jsonl'}"])


class TestShards:
    @pytest.fixture
    def folder(self, coco: tuple[Path, Path]) -> Path:
        """Samples as other tools write them: by .json with `caption`, by .txt with a line for each caption."""
        folder = coco[0].with_name("samples")
        folder.mkdir()
        for number, path in enumerate(sorted(coco[1].iterdir())[:4]):
            (folder / f"{number:04d}.jpg").write_bytes(path.read_bytes())
            if number % 2:
                (folder / f"{number:04d}.txt").write_text(f"Ball {number}.\nA ball.\n")
            else:
                (folder / f"{number:04d}.json").write_text(json.dumps({"caption": f"Ball {number}.", "url": "x"}))
        return folder

    def shards(self, folder: Path) -> str:
        for first in (0, 2):
            with tarfile.open(folder.with_name(f"shard-{first // 2 + 9:02d}.tar"), "w") as tar:
                for path in sorted(folder.glob(f"000[{first}{first + 1}].*")):
                    tar.add(path, arcname=path.name)
        return f"wds:{folder.with_name('shard-{09..10}.tar')}"

    def test_files_with_the_same_name_form_a_sample(self, folder: Path) -> None:
        images = formats.read([self.shards(folder)])

        assert [image.captions for image in images] == [
            ("Ball 0.",),
            ("Ball 1.", "A ball."),
            ("Ball 2.",),
            ("Ball 3.", "A ball."),
        ]
        assert [image.source.path.name for image in images] == ["shard-09.tar"] * 2 + ["shard-10.tar"] * 2
        assert len({image.id for image in images}) == 4

    def test_samples_are_read_from_a_folder(self, folder: Path) -> None:
        assert contents(formats.read([f"wds:{folder}"])) == contents(formats.read([self.shards(folder)]))

    def test_an_id_may_be_a_string(self, folder: Path) -> None:
        (folder / "0000.json").write_text('{"id": "a/b.c", "caption": "A ball."}')

        assert formats.read([f"wds:{folder}"])[0].id == "a/b.c"

    @pytest.mark.parametrize("ending", ["json", "txt"])
    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_windows_encodings_are_read(self, folder: Path, ending: str, encoding: str) -> None:
        (folder / "0000.json").unlink()
        content = '{"captions": ["Ein Café."]}' if ending == "json" else "Ein Café.\r\n"
        (folder / f"0000.{ending}").write_bytes(content.encode(encoding))

        assert formats.read([f"wds:{folder}"])[0].captions == ("Ein Café.",)

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [(b"{", "captions of 0000 in"), (b'{"caption": "Caf\xe9"}', r"0000\.json is not in UTF-8")],
    )
    def test_unreadable_captions_are_named(self, folder: Path, content: bytes, sentence: str) -> None:
        (folder / "0000.json").write_bytes(content)

        with pytest.raises(DataError, match=sentence):
            formats.read([f"wds:{folder}"])

    def test_a_folder_without_images_is_refused_with_its_file_extensions(self, folder: Path) -> None:
        for path in folder.glob("*.jpg"):
            path.rename(path.with_suffix(".gif"))

        with pytest.raises(
            DataError, match=r"no file ends in \.jpg.* Files by extension: \.gif \(4\), \.json \(2\), \.txt"
        ):
            formats.read([f"wds:{folder}"])

    def test_images_without_caption_files_are_refused_with_the_file_extensions(self, folder: Path) -> None:
        for path in [*folder.glob("*.json"), *folder.glob("*.txt")]:
            path.rename(path.with_suffix(".cap"))

        with pytest.raises(DataError, match=r"none of 4 images has captions in .* extension: \.cap \(4\), \.jpg \(4\)"):
            formats.read([f"wds:{folder}"])
