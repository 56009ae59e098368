"""The resident student says what the bare model says, however its pictures are shared out over calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from benchmarks.reference import generate
from captioning.captioner import Pixels, StudentCaptioner, use_processors
from captioning.student import Student
from captioning.student.errors import StudentError
from common import problems
from common.jobs import ModelInfo, Output
from common.problems import Problem
from common.settings import Settings
from tests.support.images import drawing, encoded
from tests.support.models import tiny_hybrid, tiny_model, tiny_tokenizer

COLOURS = ("red", "seagreen", "gold", "navy", "white")
#: What numbers may differ by between one call and several: sums in another order, rounded to four places.
NOISE = 1e-3


@pytest.fixture(scope="module")
def student() -> Iterator[Student]:
    """Random weights, large enough that the pictures decide the captions; more threads only slow it down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = tiny_model()
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and ("vision_model" in name or "crossattention" in name or "word_embeddings" in name):
            weight.data *= 20
    yield Student(model=model, tokenizer=tiny_tokenizer(), name="tiny", version="sha256:1", demo=False)
    torch.set_num_threads(threads)


def captioner(student: Student, beams: int = 3) -> StudentCaptioner:
    return StudentCaptioner(student, Settings(beams=beams, max_length=8, precision="fp32"))


def captions(resident: StudentCaptioner, pictures: Sequence[Pixels]) -> list[Output]:
    """The captions of pictures that all have one."""
    outputs = resident.caption(pictures)
    return [output for output in outputs if isinstance(output, Output)]


def texts(output: Output) -> list[str]:
    return [output.caption, *(other.caption for other in output.alternatives)]


def scores(output: Output) -> list[float]:
    found = [output.score, *(other.score for other in output.alternatives)]
    return [score for score in found if score is not None]


def test_a_prompt_that_leaves_no_room_is_refused(student: Student) -> None:
    with pytest.raises(StudentError, match="CAPTIOND_PROMPT and the start are 8 tokens, and CAPTIOND_MAX_LENGTH"):
        StudentCaptioner(student, Settings(max_length=8, prompt="a " * 7, precision="fp32"))


@pytest.mark.parametrize(("allowed", "used"), [(1, 1), (64, 2)])
def test_no_more_threads_than_processors_that_may_be_used(
    student: Student, monkeypatch: pytest.MonkeyPatch, allowed: int, used: int
) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr("captioning.captioner.joblib.cpu_count", lambda: allowed)
    use_processors()

    assert torch.get_num_threads() == used
    torch.set_num_threads(1)


class TestPrepare:
    def test_a_picture_becomes_the_numbers_the_student_takes(self, student: Student) -> None:
        pixels = captioner(student).prepare(encoded(drawing(size=(50, 20))))

        assert pixels.shape == (3, 32, 32)
        assert pixels.dtype == np.float32

    def test_it_is_normalised_as_the_student_learnt_it(self, student: Student) -> None:
        white = captioner(student).prepare(encoded(drawing().point(lambda _: 255), "PNG"))

        assert white[:, 0, 0] == pytest.approx([1.9303, 2.0749, 2.1459], abs=1e-3)

    def test_a_hybrid_s_picture_is_normalised_as_its_stem_learnt_it(self) -> None:
        hybrid = Student(model=tiny_hybrid(), tokenizer=tiny_tokenizer(), name="tiny", version="sha256:2", demo=False)

        white = captioner(hybrid).prepare(encoded(drawing().point(lambda _: 255), "PNG"))

        assert white.shape == (3, 64, 64)
        assert white[:, 0, 0] == pytest.approx([1.0, 1.0, 1.0])


class TestCaption:
    @pytest.mark.parametrize("beams", [1, 3])
    def test_it_is_what_generate_alone_says(self, student: Student, beams: int) -> None:
        resident = captioner(student, beams)
        pixels = resident.prepare(encoded(drawing()))

        (output,) = captions(resident, [pixels])

        tensor = torch.from_numpy(pixels)[None].to(next(student.model.parameters()).device)
        ((best, *_),) = generate(student.model, student.tokenizer, tensor, beams=beams, max_length=8)
        assert output.caption == best.text != ""
        assert output.score == pytest.approx(best.score, abs=NOISE)

    def test_a_batch_says_of_each_picture_what_a_call_of_its_own_says(self, student: Student) -> None:
        resident = captioner(student)
        pictures = [resident.prepare(encoded(drawing(colour))) for colour in COLOURS]

        together = captions(resident, pictures)

        alone = [captions(resident, [picture])[0] for picture in pictures]
        assert [texts(output) for output in together] == [texts(output) for output in alone]
        for batched, single in zip(together, alone, strict=True):
            assert scores(batched) == pytest.approx(scores(single), abs=NOISE)
        assert len({output.caption for output in together}) > 1  # or it would not show which is whose

    @pytest.mark.parametrize(("beams", "others"), [(1, 0), (2, 1), (3, 2), (5, 2)])
    def test_it_brings_up_to_two_others_as_far_as_there_are_beams(
        self, student: Student, beams: int, others: int
    ) -> None:
        resident = captioner(student, beams)

        (output,) = captions(resident, [resident.prepare(encoded(drawing()))])

        assert len(output.alternatives) == others
        assert scores(output) == sorted(scores(output), reverse=True)

    def test_a_score_that_is_not_finite_is_a_problem_of_that_picture_alone(self, student: Student) -> None:
        resident = captioner(student)
        good = resident.prepare(encoded(drawing()))

        first, second = resident.caption([good, np.full_like(good, np.nan)])

        assert [first] == captions(resident, [good])
        assert isinstance(second, Problem) and second.kind is problems.CAPTION_FAILED
        assert "not a finite number" in second.detail

    def test_it_says_which_model_it_is(self, student: Student) -> None:
        assert captioner(student).model == ModelInfo(name="tiny", version="sha256:1", demo=False)
