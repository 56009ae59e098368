"""Shards have every readable image, resized; they are written atomically and not written again."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from tests.support.coco import read_coco, write_coco
from training import prepare
from training.data import formats


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    return write_coco(tmp_path, 5)


class Preparing:
    """Runs of the command that write to one folder."""

    def __init__(self, coco: tuple[Path, Path], out: Path) -> None:
        self.out = out
        self._data = f"coco:{coco[0]}:{coco[1]}"

    def go(self, *flags: str) -> None:
        prepare.main(
            ["--data", self._data, "--out", str(self.out), "--shard", "2", "--side", "60", "--processes", "2", *flags]
        )

    def shards(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.out.glob("*.tar"))}


@pytest.fixture
def preparing(coco: tuple[Path, Path], tmp_path: Path) -> Preparing:
    return Preparing(coco, tmp_path / "out")


def test_shards_have_the_same_images_resized(
    preparing: Preparing, coco: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    preparing.go()

    spec = capsys.readouterr().out.split("'")[1]
    assert spec == f"wds:{preparing.out}/{{000000..000002}}.tar"
    found, expected = formats.read([spec]), read_coco(*coco)
    assert [(each.id, each.captions) for each in found] == [(each.id, each.captions) for each in expected]
    assert [each.load().size for each in found] == [(80, 60)] * 5


def test_a_small_image_keeps_its_size(preparing: Preparing) -> None:
    preparing.go("--side", "1000")

    assert formats.read([f"wds:{preparing.out / '000000.tar'}"])[0].load().size == (320, 240)


@pytest.mark.parametrize(
    ("size", "reduced"), [((4000, 3000), (640, 480)), ((1920, 1080), (853, 480)), ((1080, 1920), (480, 853))]
)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_an_image_is_resized_by_its_shorter_side(size: tuple[int, int], reduced: tuple[int, int], format: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, format)

    jpeg = prepare.resize_image(file.getvalue(), side=480, quality=90)

    assert isinstance(jpeg, bytes)
    assert Image.open(io.BytesIO(jpeg)).size == reduced


def test_a_second_run_writes_only_missing_shards(preparing: Preparing) -> None:
    preparing.go()
    made = preparing.shards()
    (preparing.out / "000001.tar").unlink()
    kept = (preparing.out / "000000.tar").stat().st_mtime_ns

    preparing.go()

    assert preparing.shards() == made
    assert (preparing.out / "000000.tar").stat().st_mtime_ns == kept


def test_string_ids_are_kept(tmp_path: Path, coco: tuple[Path, Path]) -> None:
    lines = tmp_path / "data.jsonl"
    ids = ["a/b.c", "ünïque", "5", 6, "x" * 300]
    lines.write_text(
        "".join(
            json.dumps({"image": f"images/{path.name}", "caption": "A ball.", "id": id}) + "\n"
            for id, path in zip(ids, sorted(coco[1].iterdir()), strict=True)
        )
    )

    prepare.main(["--data", f"jsonl:{lines}", "--out", str(tmp_path / "out"), "--processes", "1"])

    images = formats.read([f"wds:{tmp_path / 'out' / '000000.tar'}"])
    assert [image.id for image in images] == ids
    assert [image.load().size for image in images] == [(320, 240)] * 5


def test_a_data_set_of_unreadable_images_is_refused(
    preparing: Preparing, coco: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for path in coco[1].iterdir():
        path.unlink()

    with pytest.raises(SystemExit) as ended:
        preparing.go()

    assert ended.value.code == 1
    assert "None of the 5 images can be read" in capsys.readouterr().err


def test_unreadable_images_are_listed_and_skipped(
    preparing: Preparing, coco: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    torn, lost, *_ = sorted(coco[1].iterdir())
    torn.write_bytes(torn.read_bytes()[:300])
    lost.unlink()

    preparing.go()

    assert "2 of 5 images cannot be read" in capsys.readouterr().out
    lines = (preparing.out / "unreadable.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [torn.name, lost.name]
    spec = f"wds:{preparing.out}/{{000000..000002}}.tar"
    assert [each.id for each in formats.read([spec])] == [102, 103, 104]


def test_a_full_disk_leaves_no_partial_shard(
    preparing: Preparing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(tar: object, image: object, jpeg: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "add", full)

    with pytest.raises(SystemExit):
        preparing.go()

    assert "No space left on device. Run the command again" in capsys.readouterr().err
    assert sorted(path.name for path in preparing.out.iterdir()) == ["prepare.lock", "prepared.json"]


def test_shards_of_other_settings_are_refused(preparing: Preparing, capsys: pytest.CaptureFixture[str]) -> None:
    preparing.go()

    with pytest.raises(SystemExit):
        preparing.go("--side", "50")

    assert "has shards of other data or settings" in capsys.readouterr().err
    assert json.loads((preparing.out / "prepared.json").read_text())["side"] == 60


def test_shards_of_an_earlier_version_are_refused(preparing: Preparing, capsys: pytest.CaptureFixture[str]) -> None:
    preparing.go()
    manifest = preparing.out / "prepared.json"
    about = json.loads(manifest.read_text())
    del about["version"]
    manifest.write_text(json.dumps(about))

    with pytest.raises(SystemExit):
        preparing.go()

    assert "another version of this program" in capsys.readouterr().err


def test_a_second_process_is_refused(preparing: Preparing, capsys: pytest.CaptureFixture[str]) -> None:
    preparing.out.mkdir()

    with FileLock(preparing.out / "prepare.lock"), pytest.raises(SystemExit):
        preparing.go()

    assert "Another process is writing to" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [("--side", "0"), ("--quality", "100"), ("--processes", "0")])
def test_invalid_arguments_are_refused(
    preparing: Preparing, flags: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        preparing.go(*flags)

    assert "--quality must be 1 to 95" in capsys.readouterr().err
