"""The confidence is fitted by a logistic curve, and its figures are those of their definitions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from captioning.engine import Caption
from captioning.student import load_student
from tests.support.models import tiny_model, tiny_tokenizer
from training import calibration, evaluate
from training.data import formats
from training.data.images import CaptionedImage, DataError
from training.metrics import java

SLOPE, INTERCEPT = 6.0, 2.0
COLOURS = [f"colour{number}" for number in range(12)]
THINGS = [f"thing{number}" for number in range(10)]


def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and whether their captions are right, with the chance of the curve."""
    rng = np.random.default_rng(1)
    scores = rng.uniform(-1.0, 0.0, count)
    return scores, rng.random(count) < 1 / (1 + np.exp(-SLOPE * scores - INTERCEPT))


def some_right(images: Sequence[CaptionedImage]) -> list[Caption]:
    """The reference for two of three images, mostly with a higher score than the wrong captions of the others."""
    rng = np.random.default_rng(2)
    right = [number % 3 != 0 for number in range(len(images))]
    scores = rng.normal(np.where(right, -0.3, -0.6), 0.2).tolist()
    texts = [image.captions[0] if ok else "two men ride bikes" for image, ok in zip(images, right, strict=True)]
    return [Caption(text, score) for text, score in zip(texts, scores, strict=True)]


@pytest.fixture
def data(tmp_path: Path) -> str:
    """120 images with a caption of their own. The files of the images are not needed."""
    (tmp_path / "images").mkdir()
    listing = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in range(120)],
        "annotations": [
            {"id": number, "image_id": number, "caption": f"a {colour} {thing} lies here"}
            for number, (colour, thing) in enumerate(itertools.product(COLOURS, THINGS))
        ],
    }
    (tmp_path / "captions.json").write_text(json.dumps(listing))
    return f"coco:{tmp_path / 'captions.json'}:{tmp_path / 'images'}"


@pytest.fixture
def images(data: str) -> list[CaptionedImage]:
    return formats.read([data])


class TestLogistic:
    def test_a_known_curve_is_recovered(self) -> None:
        curve = calibration.logistic(*drawn(20_000))

        assert curve == pytest.approx((SLOPE, INTERCEPT), rel=0.05)

    def test_a_score_that_separates_all_captions_gives_a_finite_curve(self) -> None:
        scores = np.linspace(-1, 0, 200)

        slope, intercept = calibration.logistic(scores, scores > -0.5)

        assert 0 < slope < 1000
        assert -intercept / slope == pytest.approx(-0.5, abs=0.01)

    def test_equal_scores_give_the_share_of_right_captions(self) -> None:
        slope, intercept = calibration.logistic(np.full(1000, -0.5), np.arange(1000) < 700)

        assert 1 / (1 + np.exp(-slope * -0.5 - intercept)) == pytest.approx(0.7, abs=0.01)


class TestFigures:
    def test_auroc_is_the_chance_that_a_right_caption_has_the_higher_score(self) -> None:
        scores = np.array([-0.9, -0.5, -0.5, -0.5, -0.2, -0.1])
        right = np.array([False, True, False, True, False, True])

        pairs = [(one > other) + 0.5 * (one == other) for one in scores[right] for other in scores[~right]]

        assert calibration.auroc(scores, right) == pytest.approx(np.mean(pairs))

    def test_the_calibration_error_is_small_for_true_chances_and_large_for_others(self) -> None:
        scores, right = drawn(20_000)
        chances = 1 / (1 + np.exp(-SLOPE * scores - INTERCEPT))

        assert calibration.calibration_error(chances, right) < 0.02
        assert calibration.calibration_error(np.full(20_000, 0.9), right) == pytest.approx(0.9 - right.mean())

    def test_cross_validated_confidences_are_near_the_true_chances(self) -> None:
        scores, right = drawn(5_000)

        confidences = calibration.cross_validated(scores, right)

        assert np.abs(confidences - 1 / (1 + np.exp(-SLOPE * scores - INTERCEPT))).max() < 0.05

    def test_the_reference_is_above_chance_and_an_unrelated_caption_is_not(self, images: list[CaptionedImage]) -> None:
        captions = some_right(images)

        ciders, chance = calibration.cider_and_chance(captions, images)

        assert [cider > chance for cider in ciders] == [caption.text != "two men ride bikes" for caption in captions]


class TestFit:
    def test_right_captions_get_a_higher_confidence(self, images: list[CaptionedImage]) -> None:
        fitted = calibration.fit(some_right(images), images)

        assert fitted.right.mean() == pytest.approx(2 / 3)
        assert fitted.slope > 0
        assert 0.7 < fitted.auroc.low < fitted.auroc.value < fitted.auroc.high < 1
        assert fitted.confidences[fitted.right].mean() > fitted.confidences[~fitted.right].mean() + 0.2

    def test_the_report_counts_flagged_captions(self, images: list[CaptionedImage]) -> None:
        report = calibration.report(calibration.fit(some_right(images), images))

        assert report.startswith("120 captions, of which 66.7% are right: CIDEr-D above ")
        shares = [float(line.split("|")[2].strip(" %")) for line in report.splitlines()[4:]]
        assert shares == sorted(shares) and 0 < shares[-1] <= 100

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda captions: captions[:90], "needs 100 images or more; these are 90"),
            (lambda captions: [Caption("two men ride bikes", each.score) for each in captions], "0 of 120 captions"),
            (lambda captions: [Caption(each.text, -each.score) for each in captions], "higher scores are not better"),
        ],
    )
    def test_captions_that_give_no_curve_are_refused(
        self, images: list[CaptionedImage], change: object, words: str
    ) -> None:
        captions = change(some_right(images))  # type: ignore[operator]

        with pytest.raises(DataError, match=words):
            calibration.fit(captions, images[: len(captions)])


class TestCommand:
    @pytest.fixture(autouse=True)
    def known_captions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Captions of a known quality instead of a tiny model's, which are all wrong."""

        def captions(
            model: object, images: Sequence[CaptionedImage], *others: object
        ) -> Iterator[tuple[CaptionedImage, Caption]]:
            yield from zip(images, some_right(images), strict=True)

        monkeypatch.setattr(evaluate, "best_captions", captions)
        monkeypatch.setattr(java, "programs", lambda: None)

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        tiny_model().save_pretrained(tmp_path / "tiny")
        tiny_tokenizer().save_pretrained(tmp_path / "tiny")
        return tmp_path / "tiny"

    def test_the_calibration_is_written_into_the_model_s_folder(
        self, data: str, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        evaluate.main(["--data", data, "--model", str(model), "--beams", "3", "--max-length", "8", "--calibration"])

        content = json.loads((model / "calibration.json").read_text())
        assert content["fitted_on"] == {
            "pictures": 120,
            "data": [data],
            "beams": 3,
            "max_length": 8,
            "precision": "fp32",
        }
        assert content["figures"]["right"] == pytest.approx(2 / 3, abs=1e-4)
        student = load_student(model, processor="unused")
        assert student.calibration is not None
        assert student.calibration.confidence(-0.1) > 0.6 > student.calibration.confidence(-0.6)
        assert f"Confidence of {model}, written to {model / 'calibration.json'}: 120" in capsys.readouterr().out

    def test_too_few_images_are_refused(self, data: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            evaluate.main(["--data", data, "--limit", "50", "--model", str(model), "--calibration"])

        assert "needs 100 images or more" in capsys.readouterr().err
        assert not (model / "calibration.json").exists()

    def test_a_model_of_the_hub_is_refused_because_it_has_no_folder(
        self, data: str, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        student = load_student(model, processor="unused")
        monkeypatch.setattr(evaluate, "load_student", lambda *_, **__: replace(student, path=None))

        with pytest.raises(SystemExit):
            evaluate.main(["--data", data, "--model", "someone/blip", "--calibration"])

        assert "someone/blip is neither a .pt nor a local folder with safetensors" in capsys.readouterr().err
