"""Any model the worker loads is scored beside the best constant caption, and a checkpoint becomes a folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from captioning.student import load_student
from tests.support.coco import write_coco
from tests.support.models import tiny_model, tiny_tokenizer
from training import evaluate, export
from training.baselines import best_constant
from training.metrics import java


@pytest.fixture
def coco(tmp_path: Path) -> list[str]:
    captions, images = write_coco(tmp_path)
    return ["--data", f"coco:{captions}:{images}"]


@pytest.fixture
def captions(tmp_path: Path) -> str:
    return str(tmp_path / "captions.json")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Java takes seconds to start; what it gives is tested with its module."""
    monkeypatch.setattr(java, "programs", lambda: None)


class TestEvaluate:
    def test_the_table_has_a_row_for_each_model_and_its_difference_to_the_first(
        self, coco: list[str], captions: str, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        evaluate.main([*coco, "--model", str(model), "--constant", captions, "--beams", "1", "--max-length", "8"])

        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("| model | cider | bleu_4 |")
        assert re.match(rf"\| {model} \| \d\.\d{{4}} \(\d\.\d{{3}} … \d\.\d{{3}}\) \|", lines[2])
        assert lines[3].startswith('| constant: "a')
        assert re.match(rf"\| … minus {model} \| \+\d\.\d{{4}} \(\+\d\.\d{{3}} … \+\d\.\d{{3}}\) \|", lines[4])
        assert lines[5] == f"8 pictures of {coco[1]}, beams 1, longest caption 8 tokens, tokenizer ptb-like, fp32."
        assert lines[6].startswith("In brackets 95% of 1000 resamples of the images (bootstrap, seed 0)")

    def test_the_file_holds_every_caption_and_interval(
        self, coco: list[str], captions: str, model: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "scores.json"

        evaluate.main([*coco, "--model", str(model), "--constant", captions, "--limit", "3", "--json", str(out)])

        content = json.loads(out.read_text())
        first, second = content["models"].values()
        assert content["pictures"] == len(first["captions"]) == 3
        assert content["data"] == [coco[1]]
        assert first["metrics"].keys() == {"cider", "meteor_nltk", "rouge_l"} | {f"bleu_{n}" for n in range(1, 5)}
        low, high = first["intervals"]["bleu_1"]
        assert low <= first["metrics"]["bleu_1"] <= high
        assert second["minus_first"]["bleu_1"][0] == pytest.approx(
            second["metrics"]["bleu_1"] - first["metrics"]["bleu_1"]
        )

    def test_an_image_that_cannot_be_read_counts_for_no_model(
        self, coco: list[str], captions: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torn = next((tmp_path / "images").iterdir())
        torn.write_bytes(torn.read_bytes()[:300])

        evaluate.main([*coco, "--model", str(model), "--constant", captions, "--beams", "1", "--max-length", "8"])

        assert "\n7 pictures of" in capsys.readouterr().out

    def test_images_that_were_trained_on_are_warned_of(
        self, coco: list[str], model: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        evaluate.main(
            [*coco, "--train-data", coco[1], "--model", str(model), "--limit", "3", "--beams", "1", "--max-length", "4"]
        )

        assert "3 of the 3 validation images are also training images" in caplog.text

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            ([], "--model is needed"),
            (["--model", "demo", "--tokenizer", "ptb"], "Java's tokenizer is not to be had here"),
            (["--model", "demo", "--captions", "x.json"], "as many --images as --captions"),
        ],
    )
    def test_nonsense_is_refused(
        self, coco: list[str], flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            evaluate.main([*coco, *flags])

        assert words in capsys.readouterr().err

    def test_a_model_that_is_nowhere_is_said(self, coco: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            evaluate.main([*coco, "--model", "nowhere.pt"])

        assert "nowhere.pt" in capsys.readouterr().err


class TestConstant:
    def test_it_is_what_most_images_have_in_common(self, coco: list[str], captions: str) -> None:
        assert "ball lies on field" in best_constant([Path(captions)])

    def test_a_null_caption_is_left_out(self, coco: list[str], captions: str) -> None:
        listing = json.loads(Path(captions).read_text())
        listing["annotations"][0]["caption"] = None
        Path(captions).write_text(json.dumps(listing))

        assert "ball lies on field" in best_constant([Path(captions)])

    def test_a_file_of_another_kind_is_refused_before_anything_is_captioned(
        self, coco: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "other.json").write_text("[]")

        with pytest.raises(SystemExit):
            evaluate.main([*coco, "--model", "nowhere.pt", "--constant", str(tmp_path / "other.json")])

        assert "other.json is not in COCO's layout" in capsys.readouterr().err


class TestExport:
    def test_the_folder_is_the_checkpoint_at_half_precision(self, tmp_path: Path) -> None:
        model = tiny_model()
        torch.save(
            {
                "model": model.state_dict(),
                "model_config": model.config.to_dict(),
                "tokenizer": tiny_tokenizer().backend_tokenizer.to_str(),
            },
            tmp_path / "student_epoch1.pt",
        )

        export.main(["--checkpoint", str(tmp_path / "student_epoch1.pt"), "--out", str(tmp_path / "out")])

        exported = load_student(tmp_path / "out", processor="unused").model.state_dict()
        assert all(torch.equal(exported[name], value.half().float()) for name, value in model.state_dict().items())

    def test_a_file_that_is_no_checkpoint_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "x.pt").write_bytes(b"nothing")

        with pytest.raises(SystemExit):
            export.main(["--checkpoint", str(tmp_path / "x.pt"), "--out", str(tmp_path / "out")])

        assert "cannot be read as PyTorch weights" in capsys.readouterr().err
