"""The captioner gives the bare model's captions, independent of how images are split into batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from benchmarks.reference import generate
from captioning.device import limit_threads
from captioning.engine import Caption, Engine
from captioning.errors import StudentError
from captioning.student import Student
from captioning.student.calibration import Calibration
from captioning.student.captioner import Pixels, StudentCaptioner
from common import problems
from common.jobs import ModelInfo, Output
from common.options import SearchOptions
from common.problems import Problem
from common.settings import Settings
from tests.support.images import drawing, encoded
from tests.support.models import tiny_hybrid, tiny_model, tiny_tokenizer

COLOURS = ("red", "seagreen", "gold", "navy", "white")
#: Largest difference of scores between batch sizes, from sums in another order and rounding to four digits.
TOLERANCE = 1e-3
CURVE = Calibration(model="sha256:1", length_penalty=1.0, slope=1.0, intercept=1.0)


@pytest.fixture(scope="module")
def student() -> Iterator[Student]:
    """A student with random weights, large enough that captions depend on the image. Runs with one torch thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = tiny_model()
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and ("vision_model" in name or "crossattention" in name or "word_embeddings" in name):
            weight.data *= 20
    yield Student(model=model, tokenizer=tiny_tokenizer(), name="tiny", version="sha256:1", demo=False)
    torch.set_num_threads(threads)


def make_captioner(student: Student, beams: int = 3) -> StudentCaptioner:
    return StudentCaptioner(student, Settings(beams=beams, max_length=8, precision="fp32"))


def captions(captioner: StudentCaptioner, images: Sequence[Pixels]) -> list[Output]:
    """Caption images, and drop problems."""
    outputs = captioner.caption(images)
    return [output for output in outputs if isinstance(output, Output)]


def texts(output: Output) -> list[str]:
    return [output.caption, *(other.caption for other in output.alternatives)]


def scores(output: Output) -> list[float]:
    values = [output.score, *(other.score for other in output.alternatives)]
    return [score for score in values if score is not None]


def test_a_prompt_as_long_as_the_maximum_length_is_refused(student: Student) -> None:
    with pytest.raises(StudentError, match="CAPTIOND_PROMPT and the start token are 8 tokens, and CAPTIOND_MAX_LENGTH"):
        StudentCaptioner(student, Settings(max_length=8, prompt="a " * 7, precision="fp32"))


def test_the_captioner_says_where_and_how_it_computes(student: Student) -> None:
    captioner = StudentCaptioner(student, Settings(max_length=8, precision="fp32"))

    assert (captioner.device, captioner.precision) == (str(student.model.device), "fp32")


@pytest.mark.parametrize(("allowed", "expected"), [(1, 1), (64, 2)])
def test_limit_threads_uses_at_most_the_allowed_processors(
    student: Student, monkeypatch: pytest.MonkeyPatch, allowed: int, expected: int
) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr("captioning.device.joblib.cpu_count", lambda: allowed)
    limit_threads()

    assert torch.get_num_threads() == expected
    torch.set_num_threads(1)


class TestPrepare:
    def test_an_image_file_becomes_the_model_input(self, student: Student) -> None:
        pixels = make_captioner(student).prepare(encoded(drawing(size=(50, 20))))

        assert pixels.shape == (3, 32, 32)
        assert pixels.dtype == np.float32

    def test_pixels_are_normalised_with_clip_s_mean_and_deviation(self, student: Student) -> None:
        white = make_captioner(student).prepare(encoded(drawing().point(lambda _: 255), "PNG"))

        assert white[:, 0, 0] == pytest.approx([1.9303, 2.0749, 2.1459], abs=1e-3)

    def test_a_hybrid_s_pixels_are_normalised_with_its_own_mean_and_deviation(self) -> None:
        hybrid = Student(model=tiny_hybrid(), tokenizer=tiny_tokenizer(), name="tiny", version="sha256:2", demo=False)

        white = make_captioner(hybrid).prepare(encoded(drawing().point(lambda _: 255), "PNG"))

        assert white.shape == (3, 64, 64)
        assert white[:, 0, 0] == pytest.approx([1.0, 1.0, 1.0])


class TestCaption:
    @pytest.mark.parametrize("beams", [1, 3])
    def test_the_caption_equals_that_of_generate(self, student: Student, beams: int) -> None:
        captioner = make_captioner(student, beams)
        pixels = captioner.prepare(encoded(drawing()))

        (output,) = captions(captioner, [pixels])

        tensor = torch.from_numpy(pixels)[None].to(next(student.model.parameters()).device)
        ((best, *_),) = generate(student.model, student.tokenizer, tensor, beams=beams, max_length=8)
        assert output.caption == best.text != ""
        assert output.score == pytest.approx(best.score, abs=TOLERANCE)

    def test_captions_do_not_depend_on_the_batch(self, student: Student) -> None:
        captioner = make_captioner(student)
        images = [captioner.prepare(encoded(drawing(colour))) for colour in COLOURS]

        batched = captions(captioner, images)

        single = [captions(captioner, [image])[0] for image in images]
        assert [texts(output) for output in batched] == [texts(output) for output in single]
        for output, expected in zip(batched, single, strict=True):
            assert scores(output) == pytest.approx(scores(expected), abs=TOLERANCE)
        assert len({output.caption for output in batched}) > 1  # otherwise a mix-up would go unnoticed

    @pytest.mark.parametrize(("beams", "alternatives"), [(1, 0), (2, 1), (3, 2), (5, 2)])
    def test_up_to_two_alternatives_are_given_if_there_are_enough_beams(
        self, student: Student, beams: int, alternatives: int
    ) -> None:
        captioner = make_captioner(student, beams)

        (output,) = captions(captioner, [captioner.prepare(encoded(drawing()))])

        assert len(output.alternatives) == alternatives
        assert scores(output) == sorted(scores(output), reverse=True)

    @pytest.mark.parametrize(("beams", "captions_"), [(8, 8), (8, 1), (10, 10)])
    def test_options_replace_the_settings(self, student: Student, beams: int, captions_: int) -> None:
        captioner = make_captioner(student)
        pixels = captioner.prepare(encoded(drawing()))
        search = SearchOptions(beams=beams, min_length=7, max_length=12, captions=captions_)

        (output,) = captioner.caption([pixels], search)

        assert isinstance(output, Output)
        tensor = torch.from_numpy(pixels)[None].to(next(student.model.parameters()).device)
        ((*ranked,),) = generate(
            student.model, student.tokenizer, tensor, beams=beams, max_length=12, min_length=7, captions=captions_
        )
        assert texts(output) == [each.text for each in ranked]
        assert len(set(texts(output))) == captions_

    def test_a_maximum_length_without_room_after_the_prompt_is_a_problem_of_each_image(self, student: Student) -> None:
        captioner = StudentCaptioner(student, Settings(max_length=8, prompt="a a a", precision="fp32"))
        pixels = captioner.prepare(encoded(drawing()))

        outputs = captioner.caption([pixels] * 2, SearchOptions(beams=2, min_length=0, max_length=4, captions=1))

        for output in outputs:
            assert isinstance(output, Problem) and output.kind is problems.BAD_REQUEST
            assert output.detail.startswith("`options.max_length` is 4, but the prompt of this service has 4 tokens")
        assert len(outputs) == 2

    def test_an_instruction_is_a_problem_of_each_image(self, student: Student) -> None:
        captioner = make_captioner(student)
        search = SearchOptions(beams=1, min_length=0, max_length=8, captions=1, language="de")

        (output,) = captioner.caption([captioner.prepare(encoded(drawing()))], search)

        assert isinstance(output, Problem) and output.kind is problems.BAD_REQUEST
        assert output.detail.startswith(f"The model {student.name} takes no instructions.")

    def test_a_score_that_is_not_finite_is_a_problem_of_that_image_alone(self, student: Student) -> None:
        captioner = make_captioner(student)
        good = captioner.prepare(encoded(drawing()))

        first, second = captioner.caption([good, np.full_like(good, np.nan)])

        assert [first] == captions(captioner, [good])
        assert isinstance(second, Problem) and second.kind is problems.CAPTION_FAILED
        assert "not a finite number" in second.detail

    def test_images_for_which_the_memory_does_not_suffice_at_once_are_captioned_in_parts(
        self, student: Student, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        captioner = make_captioner(student)
        images = [captioner.prepare(encoded(drawing(colour))) for colour in COLOURS]
        expected, sizes, caption = captions(captioner, images), [], Engine.caption

        def caption_two(self: Engine, pixels: torch.Tensor, *arguments: Any, **options: Any) -> list[list[Caption]]:
            sizes.append(len(pixels))
            if len(pixels) > 2:
                raise torch.OutOfMemoryError
            return caption(self, pixels, *arguments, **options)

        monkeypatch.setattr(Engine, "caption", caption_two)

        assert [output.caption for output in captions(captioner, images)] == [output.caption for output in expected]
        assert sizes == [5, 3, 2, 1, 2]

    def test_a_single_image_for_which_the_memory_does_not_suffice_is_an_error(
        self, student: Student, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        captioner = make_captioner(student)
        monkeypatch.setattr(Engine, "caption", Mock(side_effect=torch.OutOfMemoryError))

        with pytest.raises(torch.OutOfMemoryError):
            captioner.caption([captioner.prepare(encoded(drawing()))])

    def test_a_calibrated_student_gives_a_confidence_by_the_score(self, student: Student) -> None:
        captioner = make_captioner(replace(student, calibration=CURVE))

        (output,) = captions(captioner, [captioner.prepare(encoded(drawing()))])

        assert output.score is not None
        assert output.confidence == pytest.approx(CURVE.confidence(output.score), abs=1e-3)

    @pytest.mark.parametrize(("unsure_below", "unsure"), [(0.0, False), (1.0, True)])
    def test_a_confidence_below_the_setting_is_unsure(
        self, student: Student, unsure_below: float, unsure: bool
    ) -> None:
        settings = Settings(max_length=8, precision="fp32", unsure_below=unsure_below)
        captioner = StudentCaptioner(replace(student, calibration=CURVE), settings)

        (output,) = captions(captioner, [captioner.prepare(encoded(drawing()))])

        assert output.unsure is unsure

    @pytest.mark.parametrize("setting", [{"length_penalty": 2.0}, {"prompt": "a"}])
    def test_scores_that_cannot_be_compared_give_no_confidence(
        self, student: Student, setting: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = Settings(max_length=8, precision="fp32", **setting)

        with caplog.at_level(logging.INFO):
            captioner = StudentCaptioner(replace(student, calibration=CURVE), settings)

        (output,) = captions(captioner, [captioner.prepare(encoded(drawing()))])
        assert output.confidence is output.unsure is None
        assert "Captions have no confidence" in caplog.text

    def test_the_captioner_names_its_model(self, student: Student) -> None:
        assert make_captioner(student).model == ModelInfo(name="tiny", version="sha256:1", demo=False)
