"""Sums of an epoch's losses over all ranks, and their means."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from training.distributed import Ranks
from training.losses import Loss

#: The sums: three parts of the loss over tokens, the image-state MSE over images, the numbers of tokens and images,
#: and the mean reward of an image's sampled captions over images.
_NAMES = ("loss", "cross_entropy", "kl", "image_mse", "tokens", "images", "reward")


class LossMeter:
    """Accumulates losses: this rank's since the last `all_reduce`, and `sums` of all ranks before it."""

    def __init__(self, sums: Sequence[float] = (0.0,) * len(_NAMES)) -> None:
        self.sums = [*sums, *(0.0,) * (len(_NAMES) - len(sums))]  # older checkpoints have no reward
        self._added: torch.Tensor | None = None

    def add(
        self, loss: Loss, image_mse: torch.Tensor, tokens: int, images: int, rewards: torch.Tensor | None = None
    ) -> None:
        """Add the sums of a micro-batch without waiting for its device. `rewards` is [images, samples]."""
        counts = torch.tensor([tokens, images], dtype=torch.float64, device=image_mse.device)
        parts = torch.stack([loss.total, loss.cross_entropy, loss.kl, image_mse]).detach().double()
        reward = parts.new_zeros(1) if rewards is None else rewards.mean(dim=1).sum()[None].double()
        parts = torch.cat([parts, counts, reward])
        self._added = parts if self._added is None else self._added + parts

    def finite(self) -> bool:
        """Whether all losses of this rank since the last `all_reduce` are finite. Waits for the GPU."""
        return self._added is None or bool(self._added.isfinite().all())

    def all_reduce(self, ranks: Ranks) -> None:
        """Add the losses of all ranks to `sums`. Every rank must call it."""
        added = torch.zeros(len(_NAMES), dtype=torch.float64) if self._added is None else self._added
        self.sums = [old + new for old, new in zip(self.sums, ranks.sum(added).tolist(), strict=True)]
        self._added = None

    def means(self, image_mse_weight: float) -> dict[str, float]:
        """Means of the total loss and its parts. They include this rank's losses since the last `all_reduce`."""
        added = [0.0] * len(_NAMES) if self._added is None else self._added.tolist()
        loss, cross_entropy, kl, image_mse, tokens, images, reward = (
            old + new for old, new in zip(self.sums, added, strict=True)
        )
        mean_mse = image_mse / max(1.0, images)
        means = {name: value / max(1.0, tokens) for name, value in (("cross_entropy", cross_entropy), ("kl", kl))}
        means = {"loss": loss / max(1.0, tokens) + image_mse_weight * mean_mse, **means}
        if image_mse_weight:
            means["image_mse"] = mean_mse
        if reward:
            means["reward"] = reward / max(1.0, images)
        return {name: round(value, 5) for name, value in means.items()}
