"""Every format gives the same pictures with the same captions, and says what is wrong with a file that gives none."""

from __future__ import annotations

import argparse
import json
import tarfile
from pathlib import Path

import pytest

from tests.support.coco import packed, write_coco
from training import formats
from training.pictures import DataError, Picture


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    return write_coco(tmp_path)


def contents(pictures: list[Picture]) -> list[tuple[bytes, tuple[str, ...]]]:
    return [(picture.source.read(picture.file_name), picture.captions) for picture in pictures]


class TestCoco:
    def test_each_picture_comes_with_its_captions(self, coco: tuple[Path, Path]) -> None:
        pictures = formats.read([f"coco:{coco[0]}:{coco[1]}"])

        assert [picture.id for picture in pictures] == list(range(100, 108))
        assert pictures[0].captions == ("A red ball lies on field a.", "A red ball lies on field b.")

    def test_a_tar_serves_as_well(self, coco: tuple[Path, Path]) -> None:
        folder, tar = (formats.read([f"coco:{coco[0]}:{place}"]) for place in (coco[1], packed(coco[1])))

        assert contents(folder) == contents(tar)

    def test_a_picture_without_a_caption_is_left_out(self, coco: tuple[Path, Path]) -> None:
        listing = json.loads(coco[0].read_text())
        listing["annotations"] = listing["annotations"][2:]
        coco[0].write_text(json.dumps(listing))

        assert len(formats.read([f"coco:{coco[0]}:{coco[1]}"])) == 7

    def test_a_missing_caption_file_is_named(self, coco: tuple[Path, Path]) -> None:
        with pytest.raises(DataError, match=r"no caption file .*nowhere\.json"):
            formats.read([f"coco:{coco[0].with_name('nowhere.json')}:{coco[1]}"])

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("{", "no JSON file"),
            ("[]", "COCO's layout"),
            ('{"images": []}', "COCO's layout"),
            ('{"images": [{}], "annotations": [{}]}', "COCO's layout"),
        ],
    )
    def test_another_kind_of_file_is_refused(self, coco: tuple[Path, Path], content: str, words: str) -> None:
        coco[0].write_text(content)

        with pytest.raises(DataError, match=words):
            formats.read([f"coco:{coco[0]}:{coco[1]}"])


class TestKarpathy:
    @pytest.fixture
    def split(self, coco: tuple[Path, Path]) -> str:
        """The same pictures, two of each part, in Karpathy's form; the file, and where the pictures are."""
        images = [
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
        path.write_text(json.dumps({"dataset": "coco", "images": images}))
        return f"{path}:{coco[1].parent}"

    @pytest.mark.parametrize(
        ("part", "ids"), [("train", [100, 101, 104, 105]), ("val", [102, 106]), ("test", [103, 107])]
    )
    def test_a_part_is_what_the_file_says_and_restval_is_trained_on(
        self, split: str, part: str, ids: list[int]
    ) -> None:
        pictures = formats.read([f"karpathy:{part}:{split}"])

        assert [picture.id for picture in pictures] == ids
        assert pictures[0].captions == (f"Ball {ids[0] - 100}.",)
        assert all(picture.load().width == 320 for picture in pictures)

    def test_pictures_without_a_folder_or_a_coco_id_are_read(self, split: str, coco: tuple[Path, Path]) -> None:
        path = Path(split.split(":")[0])
        listing = json.loads(path.read_text())
        for entry in listing["images"]:
            del entry["filepath"], entry["cocoid"]
        path.write_text(json.dumps(listing))

        pictures = formats.read([f"karpathy:val:{path}:{packed(coco[1])}"])

        assert [picture.id for picture in pictures] == [2, 6]
        assert pictures[0].load().width == 320

    def test_another_kind_of_file_is_refused(self, coco: tuple[Path, Path]) -> None:
        with pytest.raises(DataError, match="Karpathy's split"):
            formats.read([f"karpathy:val:{coco[0]}:{coco[1]}"])


class TestJsonLines:
    def test_paths_are_relative_to_the_file(self, coco: tuple[Path, Path]) -> None:
        expected = formats.read([f"coco:{coco[0]}:{coco[1]}"])
        path = coco[0].with_name("data.jsonl")
        path.write_text(
            "\n".join(
                json.dumps({"image": f"{coco[1].name}/{picture.file_name}", "captions": picture.captions})
                for picture in expected
            )
            + "\n\n"
        )

        pictures = formats.read([f"jsonl:{path}"])

        assert contents(pictures) == contents(expected)
        assert [each.id for each in pictures] == [each.id for each in formats.read([f"jsonl:{path}"])]

    def test_an_id_may_be_given(self, tmp_path: Path) -> None:
        (tmp_path / "data.jsonl").write_text('{"image": "a.jpg", "captions": ["A ball."], "id": 9}')

        assert formats.read([f"jsonl:{tmp_path / 'data.jsonl'}"])[0].id == 9

    @pytest.mark.parametrize("line", ["{", "[]", '{"image": "a.jpg"}', '{"image": "a.jpg", "captions": "A ball."}'])
    def test_a_line_of_another_kind_is_named(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "data.jsonl"
        path.write_text('{"image": "a.jpg", "captions": ["A ball."]}\n' + line)

        with pytest.raises(DataError, match=r"Line 2 of .*data\.jsonl"):
            formats.read([f"jsonl:{path}"])

    def test_a_file_that_is_nowhere_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no file .*nowhere\.jsonl"):
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

    def test_a_sample_is_the_files_of_one_name(self, folder: Path) -> None:
        pictures = formats.read([self.shards(folder)])

        assert [picture.captions for picture in pictures] == [
            ("Ball 0.",),
            ("Ball 1.", "A ball."),
            ("Ball 2.",),
            ("Ball 3.", "A ball."),
        ]
        assert [picture.source.path.name for picture in pictures] == ["shard-09.tar"] * 2 + ["shard-10.tar"] * 2
        assert len({picture.id for picture in pictures}) == 4

    def test_a_folder_of_such_files_serves_as_well(self, folder: Path) -> None:
        assert contents(formats.read([f"wds:{folder}"])) == contents(formats.read([self.shards(folder)]))

    def test_captions_that_cannot_be_read_are_said(self, folder: Path) -> None:
        (folder / "0000.json").write_text("{")

        with pytest.raises(DataError, match="captions of 0000 in"):
            formats.read([f"wds:{folder}"])


class TestSeveral:
    def test_sets_follow_one_another(self, tmp_path: Path) -> None:
        first, second = write_coco(tmp_path / "a", 2), write_coco(tmp_path / "b", 3, first_id=900)

        pictures = formats.read([f"coco:{first[0]}:{first[1]}", f"coco:{second[0]}:{second[1]}"])

        assert [picture.id for picture in pictures] == [100, 101, 900, 901, 902]

    def test_two_sets_with_the_same_ids_are_refused(self, tmp_path: Path) -> None:
        first, second = write_coco(tmp_path / "a", 2), write_coco(tmp_path / "b", 2)

        with pytest.raises(DataError, match="numbers two pictures alike, or as another"):
            formats.read([f"coco:{first[0]}:{first[1]}", f"coco:{second[0]}:{second[1]}"])

    @pytest.mark.parametrize("name", ["", "coco", "coco:a.json", "coco::images", "karpathy:half:a.json:b", "zip:a"])
    def test_a_name_that_says_nothing_is_answered_with_the_forms(self, name: str) -> None:
        with pytest.raises(DataError, match="coco:J:D, karpathy:PART:J:D, jsonl:FILE or wds:SHARDS"):
            formats.read([name])

    def test_none_at_all_is_an_error(self) -> None:
        with pytest.raises(DataError, match="--data is needed"):
            formats.read([])


class TestFlags:
    def test_both_ways_to_name_a_set_may_be_mixed_and_repeated(self) -> None:
        parser = argparse.ArgumentParser()
        formats.add_flags(parser)

        found = parser.parse_args(
            ["--data", "jsonl:a", "--data", "wds:b", "wds:c", "--captions", "d.json", "--images", "e"]
        )

        assert formats.sources(found.data, found.captions, found.images) == (
            "jsonl:a",
            "wds:b",
            "wds:c",
            "coco:d.json:e",
        )

    def test_captions_without_images_are_refused(self) -> None:
        with pytest.raises(DataError, match="as many --images"):
            formats.sources([], [Path("a.json")], [])
