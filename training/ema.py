"""Exponential moving average (EMA) of the student's weights. It is less noisy than the weights and costs one copy."""

from __future__ import annotations

import copy

import torch
from transformers import BlipForConditionalGeneration


class EMA:
    """The EMA of a student's weights, as a model for evaluation and checkpoints."""

    def __init__(self, student: BlipForConditionalGeneration, decay: float) -> None:
        self.model = copy.deepcopy(student).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, student: BlipForConditionalGeneration) -> None:
        """average = decay * average + (1 - decay) * student."""
        torch._foreach_lerp_(list(self.model.parameters()), list(student.parameters()), 1 - self._decay)
