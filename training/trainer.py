"""One epoch of training: batches in order, gradients of a whole step over all processes, one update of the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
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
from training.forward import real_tokens
from training.losses import Loss, distillation_loss, image_loss
from training.preemption import Stop, blocked, ignore_all_but_parent
from training.self_critical import SelfCritical
from training.state import State
from training.teacher import Teacher

#: Steps after which the losses are read, for the progress and to see whether they are finite: it makes a GPU wait.
READ_EVERY = 10


class Diverged(Exception):
    """A loss or weights that are no finite numbers; the message says what to do, in a sentence."""


@dataclass(frozen=True)
class Trainer:
    """What an epoch is trained with. `forward` is the student's pass, wrapped for this run's processes.

    With a `critic` the student learns from captions that it draws itself.
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

    def epoch(self, state: State) -> Iterator[None]:
        """Train on the rest of the state's epoch. Yields when the state is to be saved, and ends early if asked to.

        Raises `Diverged`, on all ranks at the same step and before anything of it is saved, when the loss or the
        weights are no finite numbers any more.
        """
        state.student.train()
        plan = self._plan(state)
        with blocked():  # the loader's processes begin here
            batches = iter(self._loader(state.epoch, plan))
        shown = Progress(self, state, plan)
        for step in plan:
            of_step = [self._ready(next(batches), state) for _ in step.micro_batches]
            counted = 0 if step.idle else sum(len(real_tokens(batch, self.pad_id)) for batch in of_step)
            diverged = state.steps % READ_EVERY == 0 and not state.loss_meter.finite()
            told = torch.tensor([counted, int(self.stop.asked), int(diverged)])
            tokens, stop, diverged = self.ranks.sum(told).tolist()
            if diverged:  # on any rank; all of them end before the same step
                shown.close()
                raise self._diverged(state, "The loss is")
            if stop:
                shown.close()
                self._all_reduce(state)
                yield
                return
            self.step(state, step, of_step, tokens)
            shown.update(step.pictures)
            every = self.config.save_every_steps
            if every and state.steps % every == 0 and state.images_seen < len(self.dataset):
                self._all_reduce(state)
                yield
        shown.close()
        self._all_reduce(state)

    def step(self, state: State, step: Step, batches: list[Batch], tokens: int) -> None:
        """One update, by the mean over the `tokens` of the step on all ranks."""
        config = self.config
        for group, highest in zip(state.optimizer.param_groups, (config.lr, config.stem_lr), strict=False):
            group["lr"] = highest * rate(
                state.steps, config.warmup_steps, self.steps_per_epoch * config.epochs, config.schedule
            )
            group["weight_decay"] = config.weight_decay  # a checkpoint brings that of the run before
        self._seed(state)  # of dropout, if any
        state.optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(batches, start=1):
            last = number == len(batches)
            with nullcontext() if last else without_sync(self.forward):
                loss, image = self._losses(batch)
                mean = loss.total / tokens + config.image_mse * image / step.pictures
                # DDP takes the mean of the ranks' gradients where their sum is wanted.
                (mean * (0 if step.idle else self.ranks.world)).backward()
            if not step.idle:
                counted = len(real_tokens(batch, self.pad_id))
                state.loss_meter.add(loss, image, counted, len(batch.pixels), batch.rewards)
        if config.clip:
            torch.nn.utils.clip_grad_norm_(state.student.parameters(), config.clip)
        state.optimizer.step()
        if state.average:
            state.average.update(state.student)
        state.steps += 1
        state.images_seen += step.pictures

    def _ready(self, batch: Batch, state: State) -> Batch:
        """The batch on the student's device, with the captions that are learnt from."""
        batch = batch.to(state.student.device)
        if self.critic is None:
            return batch
        self._seed(state)
        with self._autocast(batch.pixels.device):
            return self.critic.drawn(state.student, batch)

    def _seed(self, state: State) -> None:
        """Seed what is drawn on this rank in the step that follows."""
        torch.manual_seed(self.config.seed + (state.steps + 1) * self.ranks.world + self.ranks.rank)

    def _losses(self, batch: Batch) -> tuple[Loss, torch.Tensor]:
        """The loss of a batch, summed over its tokens, and the difference of its image states, over its pictures."""
        answer = self.teacher.answer(batch) if self.teacher else None
        with self._autocast(batch.pixels.device):
            logits, states = self.forward(batch)
        real = real_tokens(batch, self.pad_id)
        each = batch.tokens.shape[1] - 1
        loss = distillation_loss(
            logits,
            answer.words if answer else None,
            batch.tokens[:, 1:].flatten()[real],
            weights=None if batch.weights is None else batch.weights.repeat_interleave(each)[real],
            alpha=self.config.alpha,
            temperature=self.config.temperature,
            label_smoothing=self.config.label_smoothing,
        )
        image = torch.zeros_like(loss.total)
        if self.config.image_mse and answer and answer.states is not None:
            image = image_loss(states, answer.states)
        return loss, image

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """bfloat16 for the forward pass if asked for; the losses are computed in float32 either way."""
        enabled = self.config.precision == "bf16" or (self.config.precision == "auto" and device.type == "cuda")
        return torch.autocast(device.type, torch.bfloat16, enabled=enabled)

    def _plan(self, state: State) -> list[Step]:
        return steps(
            len(self.dataset),
            batch_size=self.config.batch_size,
            micro_batch_size=self.config.micro_batch_size,
            seed=self.config.seed,
            epoch=state.epoch,
            done=state.images_seen,
            rank=self.ranks.rank,
            world=self.ranks.world,
        )

    def _loader(self, epoch: int, plan: list[Step]) -> DataLoader[Sample]:
        """The plan's micro-batches, decoded ahead."""
        self.dataset.set_epoch(epoch)
        return DataLoader(
            self.dataset,
            batch_sampler=[rows for step in plan for rows in step.micro_batches],
            num_workers=self.config.num_workers,
            worker_init_fn=ignore_all_but_parent,
            collate_fn=Collate(self.pad_id),
        )

    def _all_reduce(self, state: State) -> None:
        """Make the state whole: sums of all ranks, and the teacher's answers on disk. Raises `Diverged`."""
        state.loss_meter.all_reduce(self.ranks)
        if not all(map(math.isfinite, state.loss_meter.sums)):
            raise self._diverged(state, "The loss is")
        if not_finite(state.student.state_dict()):
            raise self._diverged(state, "The student's weights are")
        if self.teacher:
            self.teacher.keep()

    def _diverged(self, state: State, what: str) -> Diverged:
        return Diverged(
            f"{what} not finite (NaN or infinite) after {state.steps} steps, in epoch {state.epoch}, so the training "
            f"ends here. Nothing of it is saved; {self.config.checkpoints} has the last good checkpoint, if there was "
            "one, and the same command goes on from it. Give a lower --lr, --clip 1 or --precision fp32 with it."
        )


class Progress:
    """The bar of an epoch, on the first rank."""

    def __init__(self, trainer: Trainer, state: State, plan: list[Step]) -> None:
        self._state, self._image_weight = state, trainer.config.image_mse
        self._started, self._pictures, self._steps = time.monotonic(), 0, 0
        self._bar = tqdm(
            total=len(plan),
            desc=f"epoch {state.epoch}/{trainer.config.epochs}",
            unit="step",
            mininterval=5,
            disable=not trainer.ranks.first,
        )

    def update(self, pictures: int) -> None:
        """One step of so many pictures is done."""
        self._pictures += pictures
        self._steps += 1
        self._bar.update()
        if self._steps % READ_EVERY == 0 and not self._bar.disable:
            means = self._state.loss_meter.means(self._image_weight)
            self._bar.set_postfix(
                ce=f"{means['cross_entropy']:.3f}",
                kl=f"{means['kl']:.3f}",
                pictures_per_second=f"{self._pictures / (time.monotonic() - self._started):.1f}",
                refresh=False,
            )

    def close(self) -> None:
        self._bar.close()


def rate(step: int, warmup_steps: int, all_steps: int, schedule: str) -> float:
    """The learning rate at `step`, as a part of the highest: linear warm-up, then constant or half a cosine."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(1, all_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
