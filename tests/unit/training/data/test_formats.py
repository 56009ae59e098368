"""Data sets are named by one flag or by two, read one after the other, and refused when they hold nothing to learn."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import parity
from tests.support.coco import write_coco
from training import distill, evaluate, prepare, pseudo_label
from training.data import formats
from training.data.formats import CocoFiles
from training.data.images import DataError


class TestSeveral:
    def test_sets_follow_one_another(self, tmp_path: Path) -> None:
        first, second = write_coco(tmp_path / "a", 2), write_coco(tmp_path / "b", 3, first_id=900)

        images = formats.read([f"coco:{first[0]}:{first[1]}", f"coco:{second[0]}:{second[1]}"])

        assert [image.id for image in images] == [100, 101, 900, 901, 902]

    def test_two_sets_with_the_same_ids_are_refused(self, tmp_path: Path) -> None:
        first, second = write_coco(tmp_path / "a", 2), write_coco(tmp_path / "b", 2)

        with pytest.raises(DataError, match="has an id twice, or an id of another data set"):
            formats.read([f"coco:{first[0]}:{first[1]}", f"coco:{second[0]}:{second[1]}"])

    @pytest.mark.parametrize("name", ["", "coco", "coco:a.json", "coco::images", "karpathy:half:a.json:b", "zip:a"])
    def test_a_name_that_says_nothing_is_answered_with_the_forms(self, name: str) -> None:
        with pytest.raises(DataError, match="coco:J:D, karpathy:PART:J:D, jsonl:FILE or wds:SHARDS"):
            formats.read([name])

    def test_a_text_and_a_number_that_are_written_alike_are_the_same_id(self, tmp_path: Path) -> None:
        path = tmp_path / "data.jsonl"
        path.write_text(
            '{"image": "a.jpg", "id": 5, "caption": "A ball."}\n{"image": "b.jpg", "id": "5", "caption": "A box."}'
        )

        with pytest.raises(DataError, match=r"'5'.* a\.jpg and b\.jpg"):
            formats.read([f"jsonl:{path}"])

    def test_images_without_any_caption_are_refused_with_their_number(self, tmp_path: Path) -> None:
        path = tmp_path / "data.jsonl"
        path.write_text('{"image": "a.jpg", "captions": []}\n{"image": "b.jpg", "captions": null}')

        with pytest.raises(DataError, match=r"data\.jsonl: none of its 2 images has a caption"):
            formats.read([f"jsonl:{path}"])

    def test_a_range_of_shards_that_counts_backwards_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="has no shards, as 000002 is less than 000005"):
            formats.read([f"wds:{tmp_path}/{{000005..000002}}.tar"])

    def test_none_at_all_is_an_error(self) -> None:
        with pytest.raises(DataError, match="--data is needed"):
            formats.read([])


class TestCommands:
    @pytest.mark.parametrize(
        ("command", "flags"),
        [
            (distill.main, ["--teacher", "none", "--alpha", "1", "--student", "demo", "--device", "cpu"]),
            (evaluate.main, ["--model", "demo"]),
            (parity.main, []),
            (prepare.main, ["--out", "out"]),
            (pseudo_label.main, ["--out", "pseudo.jsonl"]),
        ],
    )
    def test_each_refuses_data_without_an_image_and_says_what_it_found(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        command: Callable[[list[str]], object],
        flags: list[str],
    ) -> None:
        captions, image_folder = write_coco(tmp_path, 4)
        captions.write_text(re.sub(r'"image_id": (\d+)', r'"image_id": "\1"', captions.read_text()))
        monkeypatch.chdir(tmp_path)

        with pytest.raises(SystemExit) as ended:
            command([*flags, "--captions", str(captions), "--images", str(image_folder)])

        assert ended.value.code != 0
        said = capsys.readouterr().err + str(ended.value.code)
        assert "4 images and 8 captions, and no id in common: ids are text in `annotations` and numbers" in said
        assert {path.name for path in tmp_path.iterdir()} == {"captions.json", "images"}


class TestColons:
    """Paths with colons in them, as of a run's time or of a Windows drive."""

    @pytest.mark.parametrize(
        ("captions", "image_folder"),
        [
            ("run 12:30/a.json", "img"),
            ("a.json", "run 12:30/img"),
            ("run 12:30/a.json", "run 12:30/img"),
            ("C:\\data\\a.json", "D:\\data\\img"),
        ],
    )
    def test_the_colon_is_taken_that_leaves_paths_which_are_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captions: str, image_folder: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        written = write_coco(tmp_path, 2)
        for path, name in zip(written, (captions, image_folder), strict=True):
            Path(name).parent.mkdir(exist_ok=True)
            path.rename(name)
        listing = json.loads(Path(captions).read_text())
        entries = [
            {"imgid": entry["id"], "filename": entry["file_name"], "split": "val", "sentences": [{"raw": "A ball."}]}
            for entry in listing["images"]
        ]
        split = Path(captions).with_suffix(".split")
        split.write_text(json.dumps({"images": entries}))

        for source in (f"coco:{captions}:{image_folder}", f"karpathy:val:{split}:{image_folder}"):
            images = formats.read([source])

            assert [image.id for image in images] == [100, 101]
            assert images[0].load().width == 320

    @pytest.mark.parametrize("kind", ["jsonl", "wds"])
    def test_one_path_alone_may_hold_colons(self, tmp_path: Path, kind: str) -> None:
        folder = tmp_path / "run 12:30"
        folder.mkdir()
        (folder / "a.jpg").touch()
        (folder / "a.json").write_text('{"image": "a.jpg", "caption": "A ball."}\n')
        where = folder if kind == "wds" else folder / "a.json"

        assert [image.file_name for image in formats.read([f"{kind}:{where}"])] == ["a.jpg"]

    def test_two_flags_are_never_joined_and_split_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for captions, image_folder, first_id in (("a", "b:c", 1), ("a:b", "c", 100)):
            listing, folder = write_coco(tmp_path / "made", 1, first_id=first_id)
            listing.rename(captions)
            folder.rename(image_folder)

        with pytest.raises(DataError, match=r"is ambiguous.*: a with b:c; a:b with c\. .*--captions and --images"):
            formats.read(["coco:a:b:c"])
        for captions, image_folder, found in (("a", "b:c", 1), ("a:b", "c", 100)):
            assert formats.read(formats.sources([], [Path(captions)], [Path(image_folder)]))[0].id == found

    @pytest.mark.parametrize(
        ("source", "sentence"),
        [
            ("coco:C:\\a.json:D:\\img", r"no caption file C:\\a\.json\."),
            ("coco:j:/data/img", r"no caption file j\."),
            ("coco:run 12:30/a.json:img", r"is ambiguous.*: run 12 with 30/a\.json:img; run 12:30/a\.json with img"),
        ],
    )
    def test_paths_that_are_nowhere_are_named(self, source: str, sentence: str) -> None:
        with pytest.raises(DataError, match=sentence):
            formats.read([source])


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
            CocoFiles(Path("d.json"), Path("e")),
        )

    def test_captions_without_images_are_refused(self) -> None:
        with pytest.raises(DataError, match="as many --images"):
            formats.sources([], [Path("a.json")], [])
