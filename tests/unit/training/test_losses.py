"""The loss against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from training.losses import TopK, distillation_loss, image_loss

#: A vocabulary of two; the student gives the right one 3/4, the teacher 1/2.
STUDENT = torch.log(torch.tensor([[0.25, 0.75]]))
TEACHER = torch.log(torch.tensor([[0.5, 0.5]]))
TARGET = torch.tensor([1])


class TestParts:
    def test_cross_entropy_is_the_negative_log_probability_of_the_target(self) -> None:
        loss = distillation_loss(STUDENT, TEACHER, TARGET)

        assert loss.cross_entropy.item() == pytest.approx(-math.log(0.75))

    def test_kl_is_from_teacher_to_student(self) -> None:
        loss = distillation_loss(STUDENT, TEACHER, TARGET)

        by_hand = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
        assert loss.kl.item() == pytest.approx(by_hand)

    @pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
    def test_alpha_weights_cross_entropy_and_kl(self, alpha: float) -> None:
        loss = distillation_loss(STUDENT, TEACHER, TARGET, alpha=alpha)

        by_hand = alpha * loss.cross_entropy.item() + (1 - alpha) * loss.kl.item()
        assert loss.total.item() == pytest.approx(by_hand)

    def test_temperature_softens_both_and_scales_by_its_square(self) -> None:
        loss = distillation_loss(STUDENT, TEACHER, TARGET, temperature=2.0)

        low, high = math.sqrt(0.25), math.sqrt(0.75)
        low, high = low / (low + high), high / (low + high)
        by_hand = 4 * (0.5 * math.log(0.5 / low) + 0.5 * math.log(0.5 / high))
        assert loss.kl.item() == pytest.approx(by_hand, rel=1e-5)  # of terms that nearly cancel, in float32

    def test_equal_logits_have_no_kl(self) -> None:
        logits = torch.randn(5, 7)

        loss = distillation_loss(logits, logits.clone(), torch.randint(7, (5,)))

        assert loss.kl.item() == pytest.approx(0.0, abs=1e-6)

    def test_the_loss_without_a_teacher_is_cross_entropy(self) -> None:
        loss = distillation_loss(STUDENT, None, TARGET, alpha=1.0)

        assert loss.total.item() == loss.cross_entropy.item()
        assert loss.kl.item() == 0.0

    @pytest.mark.parametrize("smoothing", [0.1, 1.0])
    def test_label_smoothing_spreads_the_target_over_the_vocabulary(self, smoothing: float) -> None:
        logits, targets = torch.randn(5, 7), torch.randint(7, (5,))

        loss = distillation_loss(logits, None, targets, alpha=1.0, label_smoothing=smoothing)

        spread = torch.full((5, 7), smoothing / 7)
        spread[torch.arange(5), targets] += 1 - smoothing
        assert loss.total.item() == pytest.approx(-(spread * logits.log_softmax(-1)).sum().item(), rel=1e-5)

    def test_losses_are_sums_over_tokens(self) -> None:
        logits, teacher, targets = torch.randn(5, 7), torch.randn(5, 7), torch.randint(7, (5,))

        whole = distillation_loss(logits, teacher, targets)
        halves = [distillation_loss(logits[part], teacher[part], targets[part]) for part in (slice(2), slice(2, 5))]

        for name in ("total", "cross_entropy", "kl"):
            assert getattr(whole, name).item() == pytest.approx(sum(getattr(half, name).item() for half in halves))

    def test_half_precision_logits_are_converted_to_float32(self) -> None:
        logits = torch.randn(6, 50)

        exact = distillation_loss(logits.bfloat16().float(), None, torch.full((6,), 4), alpha=1.0)
        found = distillation_loss(logits.bfloat16(), None, torch.full((6,), 4), alpha=1.0)

        assert found.total.dtype is torch.float32
        assert found.total.item() == exact.total.item()


class TestGradient:
    def test_the_gradient_is_the_weighted_difference_to_target_and_teacher(self) -> None:
        student = STUDENT.clone().requires_grad_()

        distillation_loss(student, TEACHER, TARGET, alpha=0.25).total.backward()

        # d/dlogit: alpha * (p - one-hot) + (1 - alpha) * (p - teacher), of the wrong token and of the right one.
        assert student.grad is not None
        assert student.grad.flatten().tolist() == pytest.approx([0.25 * 0.25 - 0.75 * 0.25, -0.25 * 0.25 + 0.75 * 0.25])


class TestTopK:
    @pytest.mark.parametrize("temperature", [1.0, 2.0])
    def test_the_full_vocabulary_gives_the_exact_kl(self, temperature: float) -> None:
        student, teacher, targets = torch.randn(6, 9), torch.randn(6, 9), torch.randint(9, (6,))
        soft = (teacher / temperature).log_softmax(-1)
        likeliest = soft.topk(9)
        kept = TopK(likeliest.indices, likeliest.values, torch.full((6,), -30.0))

        found = distillation_loss(student, kept, targets, temperature=temperature)
        expected = distillation_loss(student, teacher, targets, temperature=temperature)

        assert found.kl.item() == pytest.approx(expected.kl.item(), rel=1e-4)
        assert found.cross_entropy.item() == expected.cross_entropy.item()

    def test_words_outside_the_top_k_share_one_bucket(self) -> None:
        student = torch.log(torch.tensor([[0.5, 0.2, 0.3]]))
        kept = TopK(torch.tensor([[0]]), torch.log(torch.tensor([[0.6]])), torch.log(torch.tensor([0.4])))

        loss = distillation_loss(student, kept, torch.tensor([0]))

        assert loss.kl.item() == pytest.approx(0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.5), abs=1e-6)

    def test_the_loss_is_finite_when_the_student_leaves_the_bucket_empty(self) -> None:
        student = torch.tensor([[60.0, 0.0, 0.0]], requires_grad=True)
        kept = TopK(torch.tensor([[0]]), torch.log(torch.tensor([[0.6]])), torch.log(torch.tensor([0.4])))

        distillation_loss(student, kept, torch.tensor([0]), alpha=0.0).total.backward()

        assert student.grad is not None and student.grad.isfinite().all()


def test_the_image_loss_is_a_mean_over_states_and_a_sum_over_images() -> None:
    student, teacher = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    teacher[1] = 3

    assert image_loss(student, teacher).item() == pytest.approx(1 + 9)
