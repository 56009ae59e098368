"""Distils a student from a BLIP teacher, or trains one by cross-entropy alone.

    python -m training.distill --data coco:captions_train2017.json:train2017
    python -m training.distill --teacher none --alpha 1 --student demo --data coco:J:D
    torchrun --nproc-per-node 8 -m training.distill --recipe beyond --batch-size 256 --data coco:J:D
    python -m training.distill --smoke

Read `run` top to bottom: configuration, data, models, loop. After each epoch: a checkpoint, the metrics on the
validation images, and sample captions. A run that is started again resumes from its last checkpoint.
"""

from __future__ import annotations

import logging
import time

import torch

from captioning.errors import StudentError
from captioning.student import preprocessing_of
from common import strict_json
from training import checkpoints, smoke
from training.config import Config, parse
from training.data import formats, pseudo
from training.data.dataset import ImageCaptionDataset
from training.data.fingerprint import Fingerprint
from training.data.images import CaptionedImage, DataError, limited, split, warn_of_overlap
from training.data.novel_objects import novel_objects
from training.distributed import Ranks, process_group
from training.ema import EMA
from training.forward import Forward
from training.loss_meter import LossMeter
from training.models import load_teacher, make_student, make_tokenizer
from training.preemption import Stop, on_signals
from training.self_critical import SelfCritical
from training.state import State
from training.stem import cached_features, parameter_groups, patches_of
from training.teacher import make_teacher
from training.trainer import Diverged, Trainer
from training.validation import report, reported

log = logging.getLogger("training")


def main(arguments: list[str] | None = None) -> bool:
    """Run the command; return False when a signal stopped it before its last epoch.

    Exits with an error message when a file or a model is not available, or when training diverged.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = parse(arguments)
    if config.smoke:
        return smoke.check(main)
    failure = None
    with on_signals() as stop, process_group() as ranks:
        try:
            run(config, ranks, stop)
        except (StudentError, DataError, Diverged, OSError) as error:
            # SystemExit is raised below, after `error` and its traceback, which references the variables of `run`,
            # are freed: a DDP module that outlives the process group can keep the process from ending.
            failure = str(error)
    if failure is not None:
        raise SystemExit(failure)
    return not stop.asked


def run(config: Config, ranks: Ranks, stop: Stop) -> None:
    """Train for the epochs of `config`, resuming from the checkpoint with the most training."""
    if not ranks.first:
        log.setLevel(logging.WARNING)
    device = ranks.device(config.device)
    log.info("%s", strict_json.dumps(config.as_dict() | {"device": str(device), "processes": ranks.world}, indent=2))

    train_images, val_images = images_of(config)
    train_images += novel_objects(train_images, config.novel_objects)
    pseudo_captions = pseudo.for_training(config.pseudo_captions, train_images, config.pseudo_min_cider)
    data = Fingerprint.of(train_images, val_images, pseudo_captions)
    saved = checkpoints.newest(config.checkpoints) if config.resume == "auto" else None
    if saved:
        data = data.after(saved, config, val_images)
    loaded = load_teacher(config)
    if saved:
        tokenizer = checkpoints.tokenizer_of(saved)
    elif loaded:
        tokenizer = loaded.tokenizer
    else:
        tokenizer = make_tokenizer(config, lambda: (text for image in train_images for text in image.captions))
    student = make_student(config, tokenizer, loaded.model if loaded else None).to(device)
    dataset = ImageCaptionDataset(
        train_images,
        tokenizer,
        preprocessing_of(student.config),
        captions_per_image=config.captions_per_image,
        random_captions=config.random_captions,
        augment=config.augment,
        views=config.views,
        pseudo=pseudo_captions,
        pseudo_fraction=config.pseudo_fraction,
        keep_in_memory=config.num_workers == 0,
        seed=config.seed,
    )
    teacher = None
    cacheable = bool(config.views) or not config.augment  # each image has a fixed set of views
    if loaded and (config.alpha < 1 or config.image_mse):  # else the teacher gave only initial layers or captions
        loaded.model.to(device)
        if cacheable and patches_of(loaded.model) and config.teacher_logits == "online":
            dataset.use_teacher_features(cached_features(loaded.model, dataset, config, ranks, stop))
        teacher = make_teacher(loaded, config, train_images, dataset.plain)
    elif cacheable and patches_of(student):
        dataset.use_features(cached_features(student, dataset, config, ranks, stop))

    state = State(
        student=student,
        optimizer=torch.optim.AdamW(
            parameter_groups(student), lr=config.lr, weight_decay=config.weight_decay, fused=True
        ),
        average=EMA(student, config.ema) if config.ema else None,
        epoch=1,
        images_seen=0,
        steps=0,
        loss_meter=LossMeter(),
    )
    if saved:
        checkpoints.restore(saved, state)
        log.info("Resuming after %d images of epoch %d in %s.", state.images_seen, state.epoch, config.checkpoints)
    if len(set(ranks.gather((state.epoch, state.images_seen)))) > 1:
        raise DataError("The processes found different checkpoints: they must share the --checkpoints folder.")
    forward = ranks.wrap(Forward(student))
    critic = None
    if config.self_critical:
        critic = SelfCritical(train_images, tokenizer, config.self_critical, config.max_length)
    trainer = Trainer(config, ranks, dataset, forward, teacher, critic, tokenizer.pad_token_id, stop)
    log.info(
        "%d training and %d validation images, %d steps an epoch, student of %.1f M parameters.",
        len(train_images),
        len(val_images),
        trainer.steps_per_epoch,
        sum(parameter.numel() for parameter in student.parameters()) / 1e6,
    )

    if state.epoch > config.epochs or (saved and saved["finished"] and state.epoch == config.epochs):
        log.info("All %d epochs are complete; give a larger --epochs to continue.", config.epochs)
    if saved and saved["finished"]:
        if not any(ranks.gather(reported(config.checkpoints, state.epoch))):  # the run stopped during validation
            report(config, ranks, state, tokenizer, val_images, stop)
        state.next_epoch()

    def save_unfinished() -> None:
        if ranks.first and state.steps:
            checkpoints.save_unfinished(config.checkpoints, checkpoints.content(state, config, tokenizer, data))

    stop.training = True
    while state.epoch <= config.epochs:
        started = time.monotonic()
        if trainer.epoch(state, save_unfinished) and ranks.first:
            content = checkpoints.content(state, config, tokenizer, data, finished=True)
            checkpoints.save_epoch(config.checkpoints, content)
        if any(ranks.gather(stop.asked)):
            outcome = "saved" if state.steps else "there is nothing to save"
            log.info("Stopped after %d images of epoch %d; %s.", state.images_seen, state.epoch, outcome)
            return
        seconds = round(time.monotonic() - started, 1)
        if not report(config, ranks, state, tokenizer, val_images, stop, seconds=seconds):
            log.info(
                "Stopped during the validation of epoch %d; the epoch is saved, and the next run validates it first.",
                state.epoch,
            )
            return
        state.next_epoch()


def images_of(config: Config) -> tuple[list[CaptionedImage], list[CaptionedImage]]:
    """Training and validation images: a seeded split, or separate data sets.

    Training images occur as often as `config.repeat` says.

    Raises `DataError` when there are no training images or no validation images.
    """
    data_sets = formats.read_each(config.train_sources)
    available = [image for images in data_sets for image in images]
    counts = config.repeat or (1,) * len(data_sets)
    repeats = {image.id: count for images, count in zip(data_sets, counts, strict=True) for image in images}

    def repeated(train: list[CaptionedImage]) -> list[CaptionedImage]:
        return [image for image in train for _ in range(repeats[image.id])]

    images = limited(available, config.limit, config.seed)
    if config.val_sources:
        train, val = images, formats.read(config.val_sources)
        warn_of_overlap(train, val)
        return repeated(train), val
    train, val = split(images, config.train_fraction, config.seed)
    if not train or not val:
        raise DataError(
            f"There are {len(available)} images with captions in {' '.join(map(str, config.train_sources))}, of which "
            f"--limit {config.limit} and --train-fraction {config.train_fraction:g} leave {len(train)} to train on and "
            f"{len(val)} to validate on. There must be 1 or more of each."
        )
    return repeated(train), val


if __name__ == "__main__":
    main()
