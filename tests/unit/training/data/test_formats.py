"""Data sets are named by one or two flags, read in order, and refused when they have no captioned image."""

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


class TestRead:
    def test_data_sets_are_read_in_order(self, tmp_path: Path) -> None:
        first, second = write_coco(tmp_path / "a", 2), write_coco(tmp_path / "b", 3, first_id=900)

        images = formats.read([f"coco:{first[0]}:{first[1]}", f"coco:{second[0]}:{second[1]}"])

        assert [image.id for image in images] == [100, 101, 900, 901, 902]

    def test_data_sets_with_equal_ids_are_refused(self, tmp_path: Path) -> None:
        first, second = write_coco(tmp_path / "a", 2), write_coco(tmp_path / "b", 2)

        with pytest.raises(DataError, match="has an id twice, or an id of another data set"):
            formats.read([f"coco:{first[0]}:{first[1]}", f"coco:{second[0]}:{second[1]}"])

    @pytest.mark.parametrize("name", ["", "coco", "coco:a.json", "coco::images", "karpathy:half:a.json:b", "zip:a"])
    def test_an_invalid_name_is_refused_with_the_formats(self, name: str) -> None:
        with pytest.raises(DataError, match="coco:J:D, karpathy:PART:J:D, jsonl:FILE or wds:SHARDS"):
            formats.read([name])

    def test_a_string_and_a_number_can_be_the_same_id(self, tmp_path: Path) -> None:
        path = tmp_path / "data.jsonl"
        path.write_text(
            '{"image": "a.jpg", "id": 5, "caption": "A ball."}\n{"image": "b.jpg", "id": "5", "caption": "A box."}'
        )

        with pytest.raises(DataError, match=r"'5'.* a\.jpg and b\.jpg"):
            formats.read([f"jsonl:{path}"])

    def test_a_data_set_without_captions_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "data.jsonl"
        path.write_text('{"image": "a.jpg", "captions": []}\n{"image": "b.jpg", "captions": null}')

        with pytest.raises(DataError, match=r"data\.jsonl: none of its 2 images has a caption"):
            formats.read([f"jsonl:{path}"])

    def test_a_descending_range_of_shards_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="has no shards, as 000002 is less than 000005"):
            formats.read([f"wds:{tmp_path}/{{000005..000002}}.tar"])

    def test_no_data_set_is_refused(self) -> None:
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
    def test_each_command_refuses_data_without_captioned_images(
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
        output = capsys.readouterr().err + str(ended.value.code)
        assert "4 images and 8 captions, and no id in common: ids are text in `annotations` and numbers" in output
        assert {path.name for path in tmp_path.iterdir()} == {"captions.json", "images"}


class TestColons:
    """Paths that contain colons, as in a time or after a Windows drive letter."""

    @pytest.mark.parametrize(
        ("captions", "image_folder"),
        [
            ("run 12:30/a.json", "img"),
            ("a.json", "run 12:30/img"),
            ("run 12:30/a.json", "run 12:30/img"),
            ("C:\\data\\a.json", "D:\\data\\img"),
        ],
    )
    def test_paths_are_split_at_the_colon_between_existing_paths(
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
    def test_a_single_path_may_contain_colons(self, tmp_path: Path, kind: str) -> None:
        folder = tmp_path / "run 12:30"
        folder.mkdir()
        (folder / "a.jpg").touch()
        (folder / "a.json").write_text('{"image": "a.jpg", "caption": "A ball."}\n')
        where = folder if kind == "wds" else folder / "a.json"

        assert [image.file_name for image in formats.read([f"{kind}:{where}"])] == ["a.jpg"]

    def test_paths_from_two_flags_are_not_split(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    def test_missing_paths_are_named(self, source: str, sentence: str) -> None:
        with pytest.raises(DataError, match=sentence):
            formats.read([source])


class TestFlags:
    def test_the_flags_may_be_mixed_and_repeated(self) -> None:
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
