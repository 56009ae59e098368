"""Benchmark of training steps with the demo's models: our loop with an online or cached teacher, and a plain loop.

The plain loop calls teacher and student of transformers with labels and padding, encodes an image once per caption and
computes KL from both logits. All loops train on the same synthetic images in the same batches with the same AdamW in
float32. The benchmark measures the processor time of one thread, which does not depend on other load. It also reports
the relative difference between the loss with cached predictions (64 words, and one bucket for the rest) and with the
teacher's logits, for a trained teacher (the bundled demo student) and an untrained student.
"""

from __future__ import annotations

import copy
import itertools
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import BlipForConditionalGeneration

from benchmarks import report, students
from benchmarks.timing import Times, interleaved
from captioning.student import Student, preprocessing_of
from training.config import Config
from training.data import formats
from training.data.dataset import Batch, Collate, ImageCaptionDataset
from training.data.sampler import steps
from training.data.synthetic import draw
from training.distributed import Ranks
from training.forward import Forward
from training.loss_meter import LossMeter
from training.losses import distillation_loss
from training.models import make_student
from training.preemption import Stop
from training.state import State
from training.teacher import OnlineTeacher, Teacher, make_teacher
from training.trainer import Trainer

IMAGES, BATCH_SIZE = 128, 32
#: Captions per image and step: of the demo student's training, and of the seed recipe.
CAPTIONS = (2, 1)


class Bench:
    """Contenders. Each trains its own copy of one student, one step per call, and cycles through the same batches."""

    def __init__(self, folder: Path, captions: int) -> None:
        captions_file, image_folder = draw(folder, IMAGES)
        self.images = images = formats.read([f"coco:{captions_file}:{image_folder}"])
        self.trained, self.tokenizer = students.demo()
        tokenizer = self.tokenizer
        self.config = Config(
            student="vit",
            batch_size=BATCH_SIZE,
            captions_per_image=captions,
            num_workers=0,
            teacher_logits="cache",
            teacher_cache=folder / f"cache{captions}",
        )
        model = make_student(Config(student="demo-teacher", seed=1), tokenizer)
        teacher = Student(model.eval().requires_grad_(False), tokenizer, "random", "random", False)
        self.pad_id = tokenizer.pad_token_id
        self.dataset = ImageCaptionDataset(
            images,
            tokenizer,
            preprocessing_of(self.trained.config),
            captions_per_image=captions,
            keep_in_memory=True,
            seed=0,
        )
        self.student = make_student(self.config, tokenizer)
        self.online = OnlineTeacher(teacher, self.config)
        self.cached = make_teacher(teacher, self.config, images, self.dataset.plain)
        half = Student(copy.deepcopy(model), tokenizer, "random", "random", False)
        self.online_bf16 = OnlineTeacher(half, Config(teacher_precision="bf16"))
        self.teacher = model
        self.plan = steps(len(images), batch_size=BATCH_SIZE, seed=0, epoch=1)
        for batch in itertools.islice(self.batches(), len(self.plan)):
            self.cached.predict(batch)
        self.cached.flush()

    def batches(self) -> Iterator[Batch]:
        """An endless cycle through the batches, which are decoded once."""
        collate = Collate(self.pad_id)
        return itertools.cycle(
            [collate([self.dataset[number] for number in step.micro_batches[0]]) for step in self.plan]
        )

    def ours(self, teacher: Teacher) -> Callable[[], object]:
        """A step of `Trainer`."""
        state = self._state()
        trainer = Trainer(
            self.config, Ranks(), self.dataset, Forward(state.student), teacher, None, self.pad_id, Stop()
        )
        batches, plan = self.batches(), itertools.cycle(self.plan)

        def run() -> None:
            batch = next(batches)
            trainer.step(state, next(plan), [batch], len(batch.targets))

        return run

    def plain(self) -> Callable[[], object]:
        """A step of the plain loop."""
        state, batches = self._state(), self.batches()

        def run() -> None:
            batch = next(batches)
            pixels = batch.pixels[batch.owner]
            mask = (batch.tokens != self.pad_id).long()
            labels = batch.tokens.masked_fill(batch.tokens == self.pad_id, -100)
            output = state.student(pixel_values=pixels, input_ids=batch.tokens, attention_mask=mask, labels=labels)
            with torch.no_grad():
                targets = self.teacher(
                    pixel_values=pixels, input_ids=batch.tokens, attention_mask=mask, labels=labels
                ).logits
            real = labels[:, 1:] != -100
            kl = F.kl_div(
                F.log_softmax(output.logits[:, :-1], dim=-1), F.softmax(targets[:, :-1], dim=-1), reduction="none"
            )
            loss = 0.5 * output.loss + 0.5 * kl.sum(dim=-1)[real].mean()
            state.optimizer.zero_grad()
            loss.backward()
            state.optimizer.step()

        return run

    def difference(self) -> float:
        """Relative difference of the loss with cached predictions to the loss with logits, over all batches."""
        teacher = Student(self.trained, self.tokenizer, "demo", "demo", True)
        sums = []
        for each in (
            OnlineTeacher(teacher, self.config),
            make_teacher(teacher, self.config, self.images, self.dataset.plain),
        ):
            total = 0.0
            for batch in itertools.islice(self.batches(), len(self.plan)):
                with torch.no_grad():
                    logits, _ = Forward(self.student)(batch)
                total += float(distillation_loss(logits, each.predict(batch).logits, batch.targets).total)
            sums.append(total)
        return abs(sums[1] - sums[0]) / sums[0]

    def _state(self) -> State:
        student: BlipForConditionalGeneration = copy.deepcopy(self.student).train()
        optimizer = torch.optim.AdamW(student.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay)
        return State(student, optimizer, None, epoch=1, images_seen=0, steps=0, loss_meter=LossMeter())


def main(arguments: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.WARNING)
    args = report.parser("benchmarks.training", __doc__).parse_args(arguments)
    torch.set_num_threads(1)
    repeats = 5 if args.quick else 25
    ratios: dict[str, float] = {}
    seconds: dict[str, dict[str, list[float]]] = {}
    for captions in CAPTIONS:
        with tempfile.TemporaryDirectory(prefix="captiond-training-") as folder:
            bench = Bench(Path(folder), captions)
            times = interleaved(
                {
                    "plain": bench.plain(),
                    "online": bench.ours(bench.online),
                    "online, teacher in bf16": bench.ours(bench.online_bf16),
                    "cached": bench.ours(bench.cached),
                },
                repeats,
                time.process_time,
            )
            found = summary(times) | {"cached_loss_difference": bench.difference()}
        print(f"\n{captions} captions a image, {BATCH_SIZE} images a step, median of {repeats}\n")
        print(report.table(HEADER, [row(times, name) for name in times.seconds]))
        ratios |= found if captions == CAPTIONS[0] else {f"{key}_{captions}": value for key, value in found.items()}
        seconds[f"{captions} captions"] = dict(times.seconds)
    print()
    for key, value in ratios.items():
        print(f"{key:32} {value:.4g}")
    report.write(args.json, ratios, seconds=seconds, batch=BATCH_SIZE, repeats=repeats)


HEADER = ("loop", "steps a processor second", "fastest", "slowest", "times the plain loop")


def row(times: Times, name: str) -> list[object]:
    shortest, longest = times.spread(name)
    return [name, 1 / times.median(name), 1 / shortest, 1 / longest, times.ratio(name, "plain")]


def summary(times: Times) -> dict[str, float]:
    return {
        "cached_vs_online": times.ratio("cached", "online"),
        "online_vs_plain": times.ratio("online", "plain"),
        "online_bf16_teacher_vs_plain": times.ratio("online, teacher in bf16", "plain"),
        "cached_vs_plain": times.ratio("cached", "plain"),
    }


if __name__ == "__main__":
    main()
