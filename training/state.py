"""The state of a training run: everything that changes during training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import BlipForConditionalGeneration

from training.ema import EMA
from training.loss_meter import LossMeter


@dataclass
class State:
    """Mutable state of a run. Everything else follows from the state and the configuration."""

    student: BlipForConditionalGeneration
    optimizer: torch.optim.Optimizer
    average: EMA | None
    #: The current epoch, counted from 1, and how many of its images all ranks have trained on.
    epoch: int
    images_seen: int
    #: Optimizer steps over all epochs.
    steps: int
    loss_meter: LossMeter

    @property
    def best(self) -> BlipForConditionalGeneration:
        """The model to evaluate and deploy: the weight average if there is one, else the student."""
        return self.average.model if self.average else self.student

    def next_epoch(self) -> None:
        """Advance to the start of the next epoch."""
        self.epoch, self.images_seen, self.loss_meter = self.epoch + 1, 0, LossMeter()
