"""The sums of an epoch's losses, over all ranks, and the means that are reported."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from training.distributed import Ranks
from training.losses import Loss

#: What is summed: three parts of the loss over tokens, the difference of image states over pictures, both counts, and
#: the mean reward of the captions that were drawn of a picture, over the pictures.
_NAMES = ("loss", "cross_entropy", "kl", "image", "tokens", "pictures", "reward")


class LossMeter:
    """What this rank has added since the last `settle`, and what all have added before it."""

    def __init__(self, sums: Sequence[float] = (0.0,) * len(_NAMES)) -> None:
        self.sums = [*sums, *(0.0,) * (len(_NAMES) - len(sums))]  # an earlier version's checkpoint knows no reward
        self._added: torch.Tensor | None = None

    def add(
        self, loss: Loss, image: torch.Tensor, tokens: int, pictures: int, rewards: torch.Tensor | None = None
    ) -> None:
        """Add a micro-batch's sums; nothing is read from its device yet. `rewards` are [pictures, samples]."""
        counts = torch.tensor([tokens, pictures], dtype=torch.float64, device=image.device)
        parts = torch.stack([loss.total, loss.cross_entropy, loss.kl, image]).detach().double()
        reward = parts.new_zeros(1) if rewards is None else rewards.mean(dim=1).sum()[None].double()
        parts = torch.cat([parts, counts, reward])
        self._added = parts if self._added is None else self._added + parts

    def finite(self) -> bool:
        """Whether every loss of this rank since the last `settle` was a finite number. It makes a GPU wait."""
        return self._added is None or bool(self._added.isfinite().all())

    def all_reduce(self, ranks: Ranks) -> None:
        """Make the sums those of all ranks; each must call it."""
        added = torch.zeros(len(_NAMES), dtype=torch.float64) if self._added is None else self._added
        self.sums = [old + new for old, new in zip(self.sums, ranks.sum(added).tolist(), strict=True)]
        self._added = None

    def means(self, image_weight: float) -> dict[str, float]:
        """The mean of each part, and of what was minimised; those of this rank only, unless just settled."""
        added = [0.0] * len(_NAMES) if self._added is None else self._added.tolist()
        loss, cross_entropy, kl, image, tokens, pictures, reward = (
            old + new for old, new in zip(self.sums, added, strict=True)
        )
        image_mean = image / max(1.0, pictures)
        means = {name: value / max(1.0, tokens) for name, value in (("cross_entropy", cross_entropy), ("kl", kl))}
        means = {"loss": loss / max(1.0, tokens) + image_weight * image_mean, **means}
        if image_weight:
            means["image_mse"] = image_mean
        if reward:
            means["reward"] = reward / max(1.0, pictures)
        return {name: round(value, 5) for name, value in means.items()}
