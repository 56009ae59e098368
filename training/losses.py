"""Distillation loss over the real tokens: alpha * cross-entropy + (1 - alpha) * KL to the teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

#: Minimum probability mass of all words outside a teacher's top K, so that its logarithm is finite.
MIN_REST = 1e-7


@dataclass(frozen=True)
class Loss:
    """The total loss and its parts, each summed over tokens. A step divides by its number of tokens on all ranks."""

    total: torch.Tensor
    cross_entropy: torch.Tensor
    kl: torch.Tensor


@dataclass(frozen=True)
class TopK:
    """A teacher's K most likely words per token, after softening by the temperature.

    `ids` is int64 [tokens, K], `log_probabilities` float32 [tokens, K]; `rest` [tokens] is the logarithm of the
    probability mass of all other words.
    """

    ids: torch.Tensor
    log_probabilities: torch.Tensor
    rest: torch.Tensor


def distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor | TopK | None,
    targets: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    alpha: float = 0.5,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
) -> Loss:
    """The loss of the student's logits [tokens, V] for `targets` [tokens], computed in float32.

    `teacher` is logits [tokens, V] or `TopK`. KL is T^2 * sum_v p_teacher (log p_teacher - log p_student), with both
    softened by T; the factor T^2 keeps the size of the gradient independent of T (Hinton et al. 2015, arXiv
    1503.02531). `weights` [tokens] scale the cross-entropy of each token.
    """
    logits = student.float()
    log_sums = logits.logsumexp(dim=-1)  # [tokens]; saves memory over log-probabilities [tokens, V]
    token_losses = log_sums - _select(logits, targets)
    cross_entropy = (token_losses if weights is None else token_losses * weights).sum()
    if label_smoothing:
        cross_entropy = torch.lerp(cross_entropy, (log_sums - logits.mean(dim=-1)).sum(), label_smoothing)
    if teacher is None:
        return Loss(cross_entropy, cross_entropy, torch.zeros_like(cross_entropy))
    if temperature != 1.0:
        logits = logits / temperature
        log_sums = logits.logsumexp(dim=-1)
    if isinstance(teacher, TopK):
        kl = _kl_to_top_k(logits, log_sums, teacher)
    else:
        kl = _kl_to_logits(logits, log_sums, teacher.float() / temperature)
    kl = kl * temperature**2
    return Loss(alpha * cross_entropy + (1 - alpha) * kl, cross_entropy, kl)


def image_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared error of image states [B, patches + 1, width], summed over the B images."""
    return (student.float() - teacher.float()).square().mean(dim=(1, 2)).sum()


def _kl_to_logits(logits: torch.Tensor, log_sums: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """sum_v p_t (log p_t - z_s) + log sum_v exp z_s, summed over tokens; z_s are the student's logits."""
    with torch.no_grad():
        log_probabilities = F.log_softmax(teacher, dim=-1)
        probabilities = log_probabilities.exp()
    return (probabilities * (log_probabilities - logits)).sum() + log_sums.sum()


def _kl_to_top_k(logits: torch.Tensor, log_sums: torch.Tensor, teacher: TopK) -> torch.Tensor:
    """KL as in `_kl_to_logits`, with all words outside the top K merged into one."""
    student = logits.gather(1, teacher.ids) - log_sums[:, None]  # [tokens, K]
    student_rest = (1 - student.exp().sum(dim=-1)).clamp_min(MIN_REST).log()  # [tokens]
    top = (teacher.log_probabilities.exp() * (teacher.log_probabilities - student)).sum()
    return top + (teacher.rest.exp() * (teacher.rest - student_rest)).sum()


def _select(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, targets[:, None])[:, 0]
