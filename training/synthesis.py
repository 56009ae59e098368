"""Stem features of objects that no image shows, made by activation maximisation with the stem's ImageNet classifier.

The features of an image are changed in one region until the classifier sees the object there (activation maximisation:
Erhan et al. 2009; Simonyan et al. 2014, arXiv 1312.6034). Each step is the gradient times the covariance of real
features, so that channels change together as they do between real images.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from captioning.student.stem import CLASSES, HybridPatches
from training.data.novel_objects import NovelObject

#: Length of the first step and of others, in the space of features averaged over all positions. Real features deviate
#: from their mean by about 26.
FIRST_STEP, STEP = 14.0, 1.0
#: Maximum number of steps.
MAX_STEPS = 60
#: Share of the mean variance that is added to the variance of each channel.
RIDGE = 0.05
#: The object's probability at which an example is complete, from and to.
PROBABILITY = (0.3, 0.95)
#: Smallest share of a region in the image's height and width; share of the original features that remains, from and to.
MIN_SIDE, REMAINING = 0.6, (0.1, 0.5)


class Synthesis:
    """Makes features of objects for a hybrid's patch embedding.

    `real` are the features of real images, averaged over the positions, float32 [images, channels].
    """

    def __init__(self, patches: HybridPatches, real: torch.Tensor) -> None:
        self._patches = copy.deepcopy(patches).cpu().float().requires_grad_(False)
        self._mean = real.mean(0)
        covariance: torch.Tensor = torch.cov(real.T)
        self._covariance = covariance + RIDGE * covariance.diagonal().mean() * torch.eye(real.shape[1])

    def features(self, examples: Mapping[str, tuple[NovelObject, torch.Tensor]]) -> dict[str, NDArray[np.float16]]:
        """Features float16 [channels, h, w] of examples, each with those of its background, by the names of the views.

        Examples whose object the classifier does not see in the end are left out.
        """
        objects = [example for example, _ in examples.values()]
        backgrounds = torch.stack([background for _, background in examples.values()])
        rngs = [random.Random(view) for view in examples]
        regions = torch.stack(
            [
                self._where(background, example.replaced) if example.replaced else _rectangle(background.shape, rng)
                for example, background, rng in zip(objects, backgrounds, rngs, strict=True)
            ]
        )
        remaining = torch.tensor([rng.uniform(*REMAINING) for rng in rngs])[:, None, None, None]
        goals = torch.tensor([rng.uniform(*PROBABILITY) for rng in rngs]).log()
        mean = self._mean[:, None, None]
        faded = mean + (backgrounds - mean) * (1 - regions * (1 - remaining))
        shares = regions / regions.mean((2, 3), keepdim=True).clamp(min=1e-6)
        classes = torch.zeros(len(objects), CLASSES, dtype=torch.bool)
        for row, example in zip(classes, objects, strict=True):
            row[list(example.classes)] = True
        made, seen = self._maximised(faded, shares, classes, goals)
        return {
            view: features.half().numpy() for view, features, ok in zip(examples, made, seen, strict=True) if bool(ok)
        }

    def _maximised(
        self, features: torch.Tensor, shares: torch.Tensor, classes: torch.Tensor, goals: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [B, channels, h, w], changed until the log-probabilities of `classes` reach the goals [B].

        `classes` is bool [B, 1000]; `shares` [B, 1, h, w] are the positions' shares of the change. Also returns whether
        the goals are reached, bool [B].
        """
        change = (FIRST_STEP * self._without_relu(classes)).requires_grad_()
        for _ in range(MAX_STEPS):
            log_probabilities = self._log_probability(features + shares * change[:, :, None, None], classes)
            reached = log_probabilities >= goals
            if reached.all():
                break
            (gradient,) = torch.autograd.grad(log_probabilities.sum(), change)
            direction = torch.nn.functional.normalize(gradient @ self._covariance)
            with torch.no_grad():
                change += STEP * direction * ~reached[:, None]
        return features + shares * change.detach()[:, :, None, None], reached

    def _log_probability(self, features: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Log-probability [B] that one of the classes, bool [B, 1000], is seen in features [B, channels, h, w]."""
        scores = self._patches.class_scores(self._patches.stem.last(features))
        log_probabilities: torch.Tensor = scores.masked_fill(~classes, -torch.inf).logsumexp(1) - scores.logsumexp(1)
        return log_probabilities

    def _without_relu(self, classes: torch.Tensor) -> torch.Tensor:
        """The first direction [B, channels]: the gradient as if no ReLU of the last convolution were zero."""
        weights = torch.stack([self._weight_of(row) for row in classes])
        return torch.nn.functional.normalize(weights @ self._patches.stem.last.weight[:, :, 0, 0] @ self._covariance)

    def _weight_of(self, classes: torch.Tensor | list[int]) -> torch.Tensor:
        """Mean weight [1280] of the classes, given as a mask or by number, minus that of all classes."""
        weight = self._patches.classifier.weight
        return weight[classes].mean(0) - weight.mean(0)

    def _where(self, features: torch.Tensor, classes: tuple[int, ...]) -> torch.Tensor:
        """Where the classes are, [1, h, w] from 0 to 1: their class activation map (Zhou et al. 2016)."""
        with torch.no_grad():
            output = self._patches.stem.last(features[None])[0]
        activation = torch.einsum("c,chw->hw", self._weight_of(list(classes)), output)
        lowest, highest = activation.aminmax()
        return ((activation - lowest) / (highest - lowest).clamp(min=1e-6))[None]


def _rectangle(shape: torch.Size, rng: random.Random) -> torch.Tensor:
    """A random rectangle of ones in zeros, [1, h, w]."""
    region = torch.zeros(1, *shape[1:])
    (top, bottom), (left, right) = (_span(length, rng) for length in shape[1:])
    region[:, top:bottom, left:right] = 1
    return region


def _span(length: int, rng: random.Random) -> tuple[int, int]:
    size = rng.randint(round(length * MIN_SIDE), length)
    first = rng.randint(0, length - size)
    return first, first + size
