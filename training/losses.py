"""alpha * cross-entropy + (1 - alpha) * KL to the teacher, a mean over the real tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Loss:
    """The sum that is minimised, and its parts, each per token."""

    total: torch.Tensor
    cross_entropy: torch.Tensor
    kl: torch.Tensor


def distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor | None,
    targets: torch.Tensor,
    *,
    pad_id: int,
    alpha: float = 0.5,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
) -> Loss:
    """The loss of logits [N, L, V] that predict `targets` [N, L]; padding counts in neither term.

    `targets` are already shifted: logits at position i predict targets at i. KL is
    T^2 * sum_v p_teacher (log p_teacher - log p_student) with both softened by T (Hinton et al. 2015,
    arXiv 1503.02531), so that its gradient keeps its size whatever T is. Computed in float32.
    """
    real = targets != pad_id
    student = student[real].float()  # [tokens, V]
    cross_entropy = F.cross_entropy(student, targets[real], label_smoothing=label_smoothing)
    if teacher is None:
        return Loss(cross_entropy, cross_entropy, torch.zeros_like(cross_entropy))
    soft_student = F.log_softmax(student / temperature, dim=-1)
    soft_teacher = F.log_softmax(teacher[real].float() / temperature, dim=-1)
    kl = F.kl_div(soft_student, soft_teacher, reduction="batchmean", log_target=True) * temperature**2
    return Loss(alpha * cross_entropy + (1 - alpha) * kl, cross_entropy, kl)
