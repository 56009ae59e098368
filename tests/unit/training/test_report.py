"""The report is one HTML page with plots, images and captions, and escapes all text."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.support.coco import write_coco
from tests.support.models import tiny_config, tiny_model, tiny_tokenizer
from training import distill, report
from training.plots import plot


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two epochs, distilled from a tiny teacher; one caption tries to be markup."""
    captions, images = write_coco(tmp_path, 6)
    captions.write_text(captions.read_text().replace("A red ball", "<script>alert(1)</script> A red ball"))
    (tmp_path / "shape.json").write_text(json.dumps(tiny_config(tiny_tokenizer()).to_dict()))
    tiny_model(seed=7).save_pretrained(tmp_path / "teacher")
    tiny_tokenizer().save_pretrained(tmp_path / "teacher")
    flags = {
        "data": f"coco:{captions}:{images}",
        "teacher": tmp_path / "teacher",
        "student": tmp_path / "shape.json",
        "train-fraction": 0.5,
        "epochs": 2,
        "batch-size": 4,
        "num-workers": 0,
        "beams": 1,
        "max-length": 6,
        "device": "cpu",
        "checkpoints": tmp_path / "run",
    }
    distill.main([word for name, value in flags.items() for word in (f"--{name}", str(value))])
    return tmp_path / "run"


class TestPage:
    def test_the_page_has_plots_images_and_captions(
        self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "report.html"

        report.main([str(run), "--out", str(out), "--pictures", "2"])

        page = out.read_text()
        for name in ("loss", "cross_entropy", "kl", "cider", "bleu_4", "rouge_l"):
            assert f">{name}</text>" in page
        assert len(re.findall('src="data:image/jpeg;base64,', page)) == 2
        assert page.count(f"<dt>student {run / 'student_epoch2.pt'}</dt>") == 2
        assert page.count(f"<dt>teacher {tmp_path / 'teacher'}</dt>") == 2
        assert "3 images of 50% of coco:" in page
        assert (tmp_path / "report.svg").read_text().startswith("<?xml")

    def test_the_page_is_self_contained_and_has_no_script(self, run: Path, tmp_path: Path) -> None:
        out = tmp_path / "report.html"

        report.main([str(run), "--out", str(out)])

        page = out.read_text()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "<script" not in page
        assert not re.findall(r'(?:src|href)="(?!data:|#)', page)

    def test_several_runs_are_compared(self, run: Path, tmp_path: Path) -> None:
        other = Path(shutil.copytree(run, tmp_path / "other"))
        out = tmp_path / "report.html"

        report.main([str(run), str(other), "--out", str(out), "--pictures", "1"])

        page = out.read_text()
        assert page.count("<dt>student ") == 2
        assert page.count("<dt>teacher ") == 1

    def test_a_report_without_images_needs_no_data(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "captions.json").unlink()

        report.main([str(run), "--out", str(tmp_path / "report.html"), "--pictures", "0"])

        assert "<svg" in (tmp_path / "report.html").read_text()


class TestErrors:
    def test_a_folder_without_a_run_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            report.main([str(tmp_path)])

        assert "has no metrics.jsonl of training.distill" in capsys.readouterr().err

    @pytest.mark.parametrize(("lines", "words"), [("", "no complete epoch"), ('{"epoch": 1}\n', "no checkpoint in")])
    def test_an_empty_run_is_named(
        self, tmp_path: Path, lines: str, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "metrics.jsonl").write_text(lines)

        with pytest.raises(SystemExit):
            report.main([str(tmp_path)])

        assert words in capsys.readouterr().err


class TestPlots:
    def test_plots_are_deterministic(self) -> None:
        runs: dict[str, list[dict[str, float | None]]] = {
            "a": [{"epoch": 1, "loss": 2.0, "cider": None}, {"epoch": 2, "loss": 1.0, "cider": 0.1}]
        }

        assert plot(runs) == plot(runs)

    def test_missing_metrics_have_no_plot(self) -> None:
        assert ">meteor_nltk</text>" not in plot({"a": [{"epoch": 1, "loss": 2.0, "meteor_nltk": None}]})
