"""The loss against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from training.losses import distillation_loss

PAD = 0
#: Two tokens; the student gives the right one 3/4, the teacher 1/2.
STUDENT = torch.log(torch.tensor([[[0.25, 0.75]]]))
TEACHER = torch.log(torch.tensor([[[0.5, 0.5]]]))
TARGET = torch.tensor([[1]])


class TestParts:
    def test_cross_entropy_is_minus_the_log_of_what_the_right_token_got(self) -> None:
        loss = distillation_loss(STUDENT, TEACHER, TARGET, pad_id=PAD)

        assert loss.cross_entropy.item() == pytest.approx(-math.log(0.75))

    def test_kl_is_that_of_the_teacher_to_the_student(self) -> None:
        loss = distillation_loss(STUDENT, TEACHER, TARGET, pad_id=PAD)

        by_hand = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
        assert loss.kl.item() == pytest.approx(by_hand)

    @pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
    def test_alpha_weighs_cross_entropy_and_the_rest_goes_to_kl(self, alpha: float) -> None:
        loss = distillation_loss(STUDENT, TEACHER, TARGET, pad_id=PAD, alpha=alpha)

        by_hand = alpha * loss.cross_entropy.item() + (1 - alpha) * loss.kl.item()
        assert loss.total.item() == pytest.approx(by_hand)

    def test_a_temperature_softens_both_sides_and_scales_by_its_square(self) -> None:
        loss = distillation_loss(STUDENT, TEACHER, TARGET, pad_id=PAD, temperature=2.0)

        low, high = math.sqrt(0.25), math.sqrt(0.75)
        low, high = low / (low + high), high / (low + high)
        by_hand = 4 * (0.5 * math.log(0.5 / low) + 0.5 * math.log(0.5 / high))
        assert loss.kl.item() == pytest.approx(by_hand)

    def test_equal_logits_have_no_kl(self) -> None:
        logits = torch.randn(3, 5, 7)

        loss = distillation_loss(logits, logits.clone(), torch.randint(1, 7, (3, 5)), pad_id=PAD)

        assert loss.kl.item() == pytest.approx(0.0, abs=1e-6)

    def test_without_a_teacher_it_is_cross_entropy_alone(self) -> None:
        loss = distillation_loss(STUDENT, None, TARGET, pad_id=PAD, alpha=1.0)

        assert loss.total.item() == loss.cross_entropy.item()
        assert loss.kl.item() == 0.0


class TestMean:
    def test_it_is_taken_over_real_tokens_whatever_stands_at_padding(self) -> None:
        short, padded = torch.randn(1, 2, 7), torch.randn(1, 4, 7)
        teacher, teacher_padded = torch.randn(1, 2, 7), torch.randn(1, 4, 7)
        padded[:, :2], teacher_padded[:, :2] = short, teacher

        expected = distillation_loss(short, teacher, torch.tensor([[3, 5]]), pad_id=PAD)
        found = distillation_loss(padded, teacher_padded, torch.tensor([[3, 5, PAD, PAD]]), pad_id=PAD)

        assert found.cross_entropy.item() == pytest.approx(expected.cross_entropy.item())
        assert found.kl.item() == pytest.approx(expected.kl.item())

    def test_a_long_caption_weighs_by_its_tokens(self) -> None:
        sure, unsure = torch.tensor([0.0, 30.0]), torch.tensor([0.0, 0.0])
        student = torch.stack([torch.stack([sure, sure, sure]), torch.stack([unsure, unsure, unsure])])

        loss = distillation_loss(student, None, torch.tensor([[1, 1, 1], [1, PAD, PAD]]), pad_id=PAD, alpha=1.0)

        assert loss.total.item() == pytest.approx(math.log(2) / 4, abs=1e-6)

    def test_half_precision_logits_are_compared_in_float32(self) -> None:
        logits = torch.randn(2, 3, 50)

        exact = distillation_loss(logits.bfloat16().float(), None, torch.full((2, 3), 4), pad_id=PAD, alpha=1.0)
        found = distillation_loss(logits.bfloat16(), None, torch.full((2, 3), 4), pad_id=PAD, alpha=1.0)

        assert found.total.dtype is torch.float32
        assert found.total.item() == exact.total.item()


class TestGradient:
    def test_it_is_the_weighted_difference_to_the_caption_and_to_the_teacher(self) -> None:
        student = STUDENT.clone().requires_grad_()

        distillation_loss(student, TEACHER, TARGET, pad_id=PAD, alpha=0.25).total.backward()

        # d/dlogit: alpha * (p - one-hot) + (1 - alpha) * (p - teacher), of the wrong token and of the right one.
        assert student.grad is not None
        assert student.grad.flatten().tolist() == pytest.approx([0.25 * 0.25 - 0.75 * 0.25, -0.25 * 0.25 + 0.75 * 0.25])
