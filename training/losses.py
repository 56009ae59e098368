"""alpha * cross-entropy + (1 - alpha) * KL to the teacher, over the real tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

#: The least probability that a student is taken to leave for all words but the teacher's likeliest.
LEAST = 1e-7


@dataclass(frozen=True)
class Loss:
    """What is minimised, and its parts, each summed over the tokens: a step divides by its tokens on all machines."""

    total: torch.Tensor
    cross_entropy: torch.Tensor
    kl: torch.Tensor


@dataclass(frozen=True)
class TopK:
    """What a teacher finds likeliest, softened already: `ids` int64 [tokens, K], their log-probabilities float32
    [tokens, K], and the logarithm [tokens] of the mass that all other words share.
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
    """The loss of logits [tokens, V] that predict `targets` [tokens]; the teacher's are logits, too, or `TopK`.

    KL is T^2 * sum_v p_teacher (log p_teacher - log p_student) with both softened by T (Hinton et al. 2015,
    arXiv 1503.02531), so that its gradient keeps its size whatever T is. Computed in float32. `weights` [tokens]
    multiply the cross-entropy of each token.
    """
    logits = student.float()
    totals = logits.logsumexp(dim=-1)  # [tokens]; the log-probabilities themselves are never all written down
    surprise = totals - _at(logits, targets)
    cross_entropy = (surprise if weights is None else surprise * weights).sum()
    if label_smoothing:
        cross_entropy = torch.lerp(cross_entropy, (totals - logits.mean(dim=-1)).sum(), label_smoothing)
    if teacher is None:
        return Loss(cross_entropy, cross_entropy, torch.zeros_like(cross_entropy))
    if temperature != 1.0:
        logits = logits / temperature
        totals = logits.logsumexp(dim=-1)
    if isinstance(teacher, TopK):
        kl = _kl_to_likeliest(logits, totals, teacher)
    else:
        kl = _kl_to_logits(logits, totals, teacher.float() / temperature)
    kl = kl * temperature**2
    return Loss(alpha * cross_entropy + (1 - alpha) * kl, cross_entropy, kl)


def image_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the states [B, patches + 1, width] of pictures, summed over the pictures."""
    return (student.float() - teacher.float()).square().mean(dim=(1, 2)).sum()


def _kl_to_logits(logits: torch.Tensor, totals: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """sum_v p_t (log p_t - z_s) + log sum_v exp z_s, over the tokens."""
    with torch.no_grad():
        soft = F.log_softmax(teacher, dim=-1)
        probabilities = soft.exp()
    return (probabilities * (soft - logits)).sum() + totals.sum()


def _kl_to_likeliest(logits: torch.Tensor, totals: torch.Tensor, teacher: TopK) -> torch.Tensor:
    """The same with all other words as one: a bucket with the mass that they share."""
    found = logits.gather(1, teacher.ids) - totals[:, None]  # [tokens, K]
    rest = (1 - found.exp().sum(dim=-1)).clamp_min(LEAST).log()  # [tokens]
    likeliest = (teacher.log_probabilities.exp() * (teacher.log_probabilities - found)).sum()
    return likeliest + (teacher.rest.exp() * (teacher.rest - rest)).sum()


def _at(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, targets[:, None])[:, 0]
