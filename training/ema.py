"""A running average of the student's weights: less noisy than the weights themselves, for the price of a copy."""

from __future__ import annotations

import copy

import torch
from transformers import BlipForConditionalGeneration


class EMA:
    """The exponential average of a student's weights, as a model that can be captioned with and saved."""

    def __init__(self, student: BlipForConditionalGeneration, decay: float) -> None:
        self.model = copy.deepcopy(student).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, student: BlipForConditionalGeneration) -> None:
        """Go 1 - decay of the way to the student's weights."""
        mine, theirs = list(self.model.parameters()), list(student.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - self._decay)
