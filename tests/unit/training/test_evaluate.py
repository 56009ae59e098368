"""Any model the worker loads is scored beside the best constant caption, and a checkpoint becomes a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from common.student import load_student
from tests.support.coco import write_coco
from tests.support.models import tiny_model, tiny_tokenizer
from training import evaluate, export
from training.constant import best_constant


@pytest.fixture
def coco(tmp_path: Path) -> list[str]:
    captions, images = write_coco(tmp_path)
    return ["--captions", str(captions), "--images", str(images)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


class TestEvaluate:
    def test_the_table_has_a_row_for_each_model(
        self, coco: list[str], model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        evaluate.main([*coco, "--model", str(model), "--constant", coco[1], "--beams", "1", "--max-length", "8"])

        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("| model | cider | bleu_4 |")
        assert lines[2].startswith('| constant: "a')
        assert lines[3].startswith(f"| {model} |")
        assert lines[4] == "8 pictures, beams 1, longest caption 8 tokens, fp32, tokenizer ptb-like"

    def test_the_file_holds_every_caption(self, coco: list[str], model: Path, tmp_path: Path) -> None:
        out = tmp_path / "scores.json"

        evaluate.main([*coco, "--model", str(model), "--limit", "3", "--max-length", "8", "--json", str(out)])

        content = json.loads(out.read_text())
        assert content["pictures"] == len(content["models"][str(model)]["captions"]) == 3
        assert content["models"][str(model)]["metrics"].keys() >= {"cider", "bleu_4", "meteor_nltk", "rouge_l"}

    def test_a_model_that_is_nowhere_is_said(self, coco: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            evaluate.main([*coco, "--model", "nowhere.pt"])

        assert "nowhere.pt" in capsys.readouterr().err


class TestConstant:
    def test_it_is_what_most_pictures_have_in_common(self, coco: list[str]) -> None:
        assert "ball lies on field" in best_constant([Path(coco[1])])


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
