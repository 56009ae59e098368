"""Models are scored beside the best constant caption, and checkpoints are exported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.student import build, load_student
from tests.support.coco import write_coco
from tests.support.models import CAPTIONS, tiny_config, tiny_hybrid, tiny_model, tiny_tokenizer
from training import evaluate, export
from training.baselines import best_constant
from training.metrics import java
from training.tokenizer import train_tokenizer


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


def saved(model: BlipForConditionalGeneration, path: Path, tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
    """Save a model as a checkpoint."""
    tokenizer = tokenizer or tiny_tokenizer()
    content = {
        "model": model.state_dict(),
        "model_config": model.config.to_dict(),
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
    }
    torch.save(content, path)
    return path


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

        export.main(["--checkpoint", str(saved(model, tmp_path / "a.pt")), "--out", str(tmp_path / "out")])

        exported = load_student(tmp_path / "out", processor="unused").model.state_dict()
        assert all(torch.equal(exported[name], value.half().float()) for name, value in model.state_dict().items())

    def test_several_checkpoints_are_averaged_with_their_shares(self, tmp_path: Path) -> None:
        models = tiny_model(seed=1), tiny_model(seed=2)
        paths = [str(saved(model, tmp_path / f"{number}.pt")) for number, model in enumerate(models)]

        export.main(["--checkpoint", *paths, "--shares", "0.75", "0.25", "--out", str(tmp_path / "out")])
        export.main(["--checkpoint", *paths, "--out", str(tmp_path / "equal")])

        one, two = (model.state_dict() for model in models)
        for folder, shares in (("out", (0.75, 0.25)), ("equal", (0.5, 0.5))):
            exported = load_student(tmp_path / folder, processor="unused").model.state_dict()
            assert all(
                torch.allclose(exported[name], shares[0] * one[name] + shares[1] * two[name], atol=1e-3) for name in one
            )

    def test_checkpoints_of_different_shapes_are_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        paths = [str(saved(model, tmp_path / f"{n}.pt")) for n, model in enumerate((tiny_model(), tiny_hybrid()))]

        with pytest.raises(SystemExit):
            export.main(["--checkpoint", *paths, "--out", str(tmp_path / "out")])

        assert "different shapes, so they have no average" in capsys.readouterr().err

    def test_checkpoints_of_different_vocabularies_are_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = train_tokenizer([caption[::-1] for caption in CAPTIONS], 120)
        paths = [
            str(saved(tiny_model(), tmp_path / "a.pt")),
            str(saved(build(tiny_config(other)), tmp_path / "b.pt", other)),
        ]

        with pytest.raises(SystemExit):
            export.main(["--checkpoint", *paths, "--out", str(tmp_path / "out")])

        assert "another vocabulary" in capsys.readouterr().err

    @pytest.mark.parametrize("shares", [["1"], ["0.5", "0.6"], ["0.2", "0.3", "0.5"]])
    def test_shares_that_do_not_fit_the_checkpoints_are_refused(
        self, shares: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            export.main(["--checkpoint", "a.pt", "b.pt", "--shares", *shares, "--out", "out"])

        assert "a number for each --checkpoint; their sum must be 1" in capsys.readouterr().err

    def test_a_file_that_is_not_a_checkpoint_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "x.pt").write_bytes(b"nothing")

        with pytest.raises(SystemExit):
            export.main(["--checkpoint", str(tmp_path / "x.pt"), "--out", str(tmp_path / "out")])

        assert "cannot be read as PyTorch weights" in capsys.readouterr().err
