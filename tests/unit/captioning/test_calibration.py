"""A calibration gives a confidence that rises with the score, and is loaded with the weights it was fitted to."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from captioning.errors import StudentError
from captioning.student import load_student
from captioning.student.calibration import Calibration, calibration_path, load_calibration
from tests.support.models import tiny_model, tiny_tokenizer

CURVE = Calibration(model="sha256:1", length_penalty=1.0, slope=5.0, intercept=2.0)


def write(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**CURVE.model_dump(), **changes}))


class TestConfidence:
    def test_it_is_a_half_where_the_curve_crosses_zero(self) -> None:
        assert CURVE.confidence(-0.4) == pytest.approx(0.5)

    def test_it_rises_with_the_score_and_stays_between_0_and_1(self) -> None:
        confidences = [CURVE.confidence(score) for score in (-1e6, -300.0, -2.0, -0.5, -0.1, 0.0, 1e6)]

        assert confidences == sorted(confidences)
        assert (confidences[0], confidences[-1]) == (0.0, 1.0)


class TestLoading:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        tiny_model().save_pretrained(tmp_path / "tiny")
        tiny_tokenizer().save_pretrained(tmp_path / "tiny")
        return tmp_path / "tiny"

    def test_a_model_without_a_calibration_has_none(self, folder: Path) -> None:
        assert load_student(folder, processor="unused").calibration is None

    def test_a_folder_s_calibration_is_loaded_with_it(self, folder: Path) -> None:
        student = load_student(folder, processor="unused")
        write(folder / "calibration.json", model=student.version, figures={"auroc": [0.7, 0.6, 0.8]})

        loaded = load_student(folder, processor="unused")

        assert loaded.calibration == CURVE.model_copy(update={"model": student.version})
        assert loaded.path == folder

    def test_that_of_a_pt_file_lies_beside_it(self, tmp_path: Path) -> None:
        model = tiny_model()
        torch.save({"model": model.state_dict(), "model_config": model.config.to_dict()}, tmp_path / "s.pt")
        tiny_tokenizer().save_pretrained(tmp_path / "processor")
        student = load_student(tmp_path / "s.pt", processor=tmp_path / "processor")
        write(tmp_path / "s.calibration.json", model=student.version)

        assert calibration_path(tmp_path / "s.pt") == tmp_path / "s.calibration.json"
        assert load_student(tmp_path / "s.pt", processor=tmp_path / "processor").calibration is not None

    def test_that_of_other_weights_is_ignored_with_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(tmp_path / "calibration.json")

        with caplog.at_level(logging.WARNING):
            assert load_calibration(tmp_path, "sha256:2") is None

        assert "is of other weights" in caplog.text

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b'{"model": "sha256:1", "slo',
            b"[]",
            b"\xff\xfe",
            b'{"model": "sha256:1", "length_penalty": 1.0, "slope": 5.0}',
            b'{"model": "sha256:1", "length_penalty": 1.0, "slope": "steep", "intercept": 1.0}',
            b'{"model": "sha256:1", "length_penalty": 1.0, "slope": NaN, "intercept": 1.0}',
            b'{"model": "sha256:1", "length_penalty": 1.0, "slope": -5.0, "intercept": 1.0}',
        ],
    )
    def test_a_damaged_file_is_refused_by_name(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "calibration.json").write_bytes(content)

        with pytest.raises(
            StudentError, match=r"calibration\.json is not a calibration: .*Delete it, and make it again"
        ):
            load_calibration(tmp_path, "sha256:1")

    def test_a_folder_in_its_place_is_refused_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "calibration.json").mkdir()

        with pytest.raises(StudentError, match=r"calibration\.json is not a calibration: Is a directory"):
            load_calibration(tmp_path, "sha256:1")
