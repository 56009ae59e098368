"""Models are scored beside the best constant caption, and checkpoints are exported."""

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
    def test_the_table_has_scores_and_differences_to_the_first_model(
        self, coco: list[str], captions: str, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        evaluate.main([*coco, "--model", str(model), "--constant", captions, "--beams", "1", "--max-length", "8"])

        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("| model | cider | bleu_4 |")
        assert re.match(rf"\| {model} \| \d\.\d{{4}} \(\d\.\d{{3}} … \d\.\d{{3}}\) \|", lines[2])
        assert lines[3].startswith('| constant: "a')
        assert re.match(rf"\| … minus {model} \| \+\d\.\d{{4}} \(\+\d\.\d{{3}} … \+\d\.\d{{3}}\) \|", lines[4])
        assert lines[5] == f"8 images of {coco[1]}, beams 1, longest caption 8 tokens, tokenizer ptb-like, fp32."
        assert lines[6].startswith("In brackets: 95% bootstrap intervals, 1000 resamples of the images, seed 0")

    def test_the_json_file_has_all_captions_and_intervals(
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

    def test_an_unreadable_image_is_excluded_for_all_models(
        self, coco: list[str], captions: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torn = next((tmp_path / "images").iterdir())
        torn.write_bytes(torn.read_bytes()[:300])

        evaluate.main([*coco, "--model", str(model), "--constant", captions, "--beams", "1", "--max-length", "8"])

        assert "\n7 images of" in capsys.readouterr().out

    def test_training_images_in_the_data_log_a_warning(
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
            (["--model", "demo", "--tokenizer", "ptb"], "Java's tokenizer is not available"),
            (["--model", "demo", "--captions", "x.json"], "as many --images as --captions"),
        ],
    )
    def test_invalid_arguments_are_refused(
        self, coco: list[str], flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            evaluate.main([*coco, *flags])

        assert words in capsys.readouterr().err

    def test_a_missing_model_is_named(self, coco: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            evaluate.main([*coco, "--model", "nowhere.pt"])

        assert "nowhere.pt" in capsys.readouterr().err


class TestConstant:
    def test_the_constant_is_the_most_common_caption_text(self, coco: list[str], captions: str) -> None:
        assert "ball lies on field" in best_constant([Path(captions)])

    def test_a_null_caption_is_skipped(self, coco: list[str], captions: str) -> None:
        listing = json.loads(Path(captions).read_text())
        listing["annotations"][0]["caption"] = None
        Path(captions).write_text(json.dumps(listing))

        assert "ball lies on field" in best_constant([Path(captions)])

    def test_an_invalid_file_is_refused_before_captioning(
        self, coco: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "other.json").write_text("[]")

        with pytest.raises(SystemExit):
            evaluate.main([*coco, "--model", "nowhere.pt", "--constant", str(tmp_path / "other.json")])

        assert "other.json is not in COCO's layout" in capsys.readouterr().err


class TestExport:
    def test_the_exported_folder_has_the_checkpoint_in_half_precision(self, tmp_path: Path) -> None:
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

    def test_a_file_that_is_not_a_checkpoint_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "x.pt").write_bytes(b"nothing")

        with pytest.raises(SystemExit):
            export.main(["--checkpoint", str(tmp_path / "x.pt"), "--out", str(tmp_path / "out")])

        assert "cannot be read as PyTorch weights" in capsys.readouterr().err
