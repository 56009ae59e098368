"""One epoch of training: batches in order, one optimizer step per global batch, over all ranks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from captioning.student.finite import not_finite
from training.config import Config
from training.data.dataset import Batch, Collate, ImageCaptionDataset, Sample
from training.data.sampler import Step, steps
from training.distributed import Ranks, without_sync
from training.losses import Loss, distillation_loss, image_loss
from training.preemption import Stop, blocked, ignore_all_but_parent
from training.self_critical import SelfCritical
from training.state import State
from training.teacher import Teacher

#: Steps between two reads of the loss, for the progress bar and the check for NaN. A read waits for the GPU.
READ_EVERY = 10


class Diverged(Exception):
    """The loss or the weights are not finite. The message is a sentence that says what to do."""


@dataclass(frozen=True)
class Trainer:
    """Trains epochs. `forward` is the student's forward pass, wrapped in DDP when there are several ranks.

    With a `critic` the student learns from captions that it samples itself.
    """

    config: Config
    ranks: Ranks
    dataset: ImageCaptionDataset
    forward: torch.nn.Module
    teacher: Teacher | None
    critic: SelfCritical | None
    pad_id: int
    stop: Stop

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.dataset) / self.config.batch_size)

    def epoch(self, state: State, save: Callable[[], None]) -> bool:
        """Train on the rest of the state's epoch. Return whether the epoch is complete; it is not after a stop.

        `save` is called every `save_every_steps` steps and before a stop, when `state` is consistent on all ranks.
        Raises `Diverged` on all ranks before the same step, and before `save`, when the loss or the weights are not
        finite.
        """
        state.student.train()
        plan = self._plan(state)
        with blocked():  # the data loader starts its processes here
            loader = iter(self._loader(state.epoch, plan))
        progress = Progress(self, state, plan)
        for step in plan:
            batches = [self._prepare(next(loader), state) for _ in step.micro_batches]
            own_tokens = 0 if step.idle else sum(len(batch.targets) for batch in batches)
            own_diverged = state.steps % READ_EVERY == 0 and not state.loss_meter.finite()
            flags = torch.tensor([own_tokens, int(self.stop.asked), int(own_diverged)])
            tokens, stop, diverged = self.ranks.sum(flags).tolist()
            if diverged:  # on any rank; all ranks end before the same step
                progress.close()
                raise self._diverged(state, "The loss is")
            if stop:
                progress.close()
                self._synchronize(state)
                save()
                return False
            self.step(state, step, batches, tokens)
            progress.update(step.images)
            interval = self.config.save_every_steps
            if interval and state.steps % interval == 0 and state.images_seen < len(self.dataset):
                self._synchronize(state)
                save()
        progress.close()
        self._synchronize(state)
        return True

    def step(self, state: State, step: Step, batches: list[Batch], tokens: int) -> None:
        """One optimizer step on the mean loss over the step's `tokens` on all ranks."""
        config = self.config
        for group, max_lr in zip(state.optimizer.param_groups, (config.lr, config.stem_lr), strict=False):
            group["lr"] = max_lr * rate(
                state.steps, config.warmup_steps, self.steps_per_epoch * config.epochs, config.schedule
            )
            group["weight_decay"] = config.weight_decay  # overrides the value from the checkpoint
        self._seed(state)  # for dropout
        state.optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(batches, start=1):
            last = number == len(batches)
            with nullcontext() if last else without_sync(self.forward):
                loss, image_mse = self._losses(batch)
                mean = loss.total / tokens + config.image_mse * image_mse / step.images
                # DDP averages the gradients of the ranks; the factor turns the average into a sum.
                (mean * (0 if step.idle else self.ranks.world)).backward()
            if not step.idle:
                state.loss_meter.add(loss, image_mse, len(batch.targets), len(batch.pixels), batch.rewards)
        if config.clip:
            torch.nn.utils.clip_grad_norm_(state.student.parameters(), config.clip)
        state.optimizer.step()
        if state.average:
            state.average.update(state.student)
        state.steps += 1
        state.images_seen += step.images

    def _prepare(self, batch: Batch, state: State) -> Batch:
        """The batch on the student's device, with sampled captions in self-critical training."""
        batch = batch.to(state.student.device)
        if self.critic is None:
            return batch
        self._seed(state)
        with self._autocast(batch.pixels.device):
            return self.critic.sample_batch(state.student, batch)

    def _seed(self, state: State) -> None:
        """Seed torch for this step and rank."""
        torch.manual_seed(self.config.seed + (state.steps + 1) * self.ranks.world + self.ranks.rank)

    def _losses(self, batch: Batch) -> tuple[Loss, torch.Tensor]:
        """The loss of a batch, summed over its tokens, and the image-state MSE, summed over its images."""
        output = self.teacher.predict(batch) if self.teacher else None
        with self._autocast(batch.pixels.device):
            logits, states = self.forward(batch)
        weights = None
        if batch.weights is not None:
            weights = batch.weights.repeat_interleave(batch.tokens.shape[1] - 1)[batch.positions]
        loss = distillation_loss(
            logits,
            output.logits if output else None,
            batch.targets,
            weights=weights,
            alpha=self.config.alpha,
            temperature=self.config.temperature,
            label_smoothing=self.config.label_smoothing,
        )
        image_mse = torch.zeros_like(loss.total)
        if self.config.image_mse and output and output.states is not None:
            image_mse = image_loss(states, output.states)
        return loss, image_mse

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """bfloat16 for the forward pass if the configuration says so. Losses are always computed in float32."""
        enabled = self.config.precision == "bf16" or (self.config.precision == "auto" and device.type == "cuda")
        return torch.autocast(device.type, torch.bfloat16, enabled=enabled)

    def _plan(self, state: State) -> list[Step]:
        return steps(
            len(self.dataset),
            batch_size=self.config.batch_size,
            micro_batch_size=self.config.micro_batch_size,
            seed=self.config.seed,
            epoch=state.epoch,
            skip=state.images_seen,
            rank=self.ranks.rank,
            world=self.ranks.world,
        )

    def _loader(self, epoch: int, plan: list[Step]) -> DataLoader[Sample]:
        """Data loader over the micro-batches of the plan."""
        self.dataset.set_epoch(epoch)
        return DataLoader(
            self.dataset,
            batch_sampler=[indices for step in plan for indices in step.micro_batches],
            num_workers=self.config.num_workers,
            worker_init_fn=ignore_all_but_parent,
            collate_fn=Collate(self.pad_id),
        )

    def _synchronize(self, state: State) -> None:
        """Make the state consistent on all ranks, and write the teacher's cache to disk. Raises `Diverged`."""
        state.loss_meter.all_reduce(self.ranks)
        if not all(map(math.isfinite, state.loss_meter.sums)):
            raise self._diverged(state, "The loss is")
        if not_finite(state.student.state_dict()):
            raise self._diverged(state, "The student's weights are")
        if self.teacher:
            self.teacher.flush()

    def _diverged(self, state: State, subject: str) -> Diverged:
        return Diverged(
            f"{subject} not finite (NaN or infinite) after {state.steps} steps, in epoch {state.epoch}, so training "
            f"ends without saving. {self.config.checkpoints} keeps the last good checkpoint, if there is one; the same "
            "command resumes from it. Give a lower --lr, --clip 1 or --precision fp32 with it."
        )


class Progress:
    """Progress bar of an epoch, shown on rank 0."""

    def __init__(self, trainer: Trainer, state: State, plan: list[Step]) -> None:
        self._state, self._image_mse_weight = state, trainer.config.image_mse
        self._started, self._images, self._steps = time.monotonic(), 0, 0
        self._bar = tqdm(
            total=len(plan),
            desc=f"epoch {state.epoch}/{trainer.config.epochs}",
            unit="step",
            mininterval=5,
            disable=not trainer.ranks.first,
        )

    def update(self, images: int) -> None:
        """Count one step of `images` images."""
        self._images += images
        self._steps += 1
        self._bar.update()
        if self._steps % READ_EVERY == 0 and not self._bar.disable:
            means = self._state.loss_meter.means(self._image_mse_weight)
            self._bar.set_postfix(
                ce=f"{means['cross_entropy']:.3f}",
                kl=f"{means['kl']:.3f}",
                images_per_second=f"{self._images / (time.monotonic() - self._started):.1f}",
                refresh=False,
            )

    def close(self) -> None:
        self._bar.close()


def rate(step: int, warmup_steps: int, total_steps: int, schedule: str) -> float:
    """Learning rate at `step` relative to its maximum: linear warm-up, then constant or half a cosine period."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
