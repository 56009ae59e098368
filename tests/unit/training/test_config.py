"""The defaults are the seed recipe, and invalid command lines are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from training.config import RECIPES, Config, parse
from training.data.formats import CocoFiles

DATA = ["--data", "coco:c.json:i"]


def test_the_defaults_are_the_seed_recipe() -> None:
    config = parse(DATA)

    assert (config.teacher, config.student) == ("Salesforce/blip-image-captioning-base", "seed")
    assert (config.alpha, config.temperature, config.lr) == (0.5, 1.0, 3e-5)
    assert (config.limit, config.train_fraction, config.epochs) == (12_000, 0.8, 15)
    assert (config.label_smoothing, config.clip, config.schedule, config.augment) == (0.0, 0.0, "constant", False)
    assert config.checkpoints == Path("checkpoints")


def test_a_flag_overrides_the_recipe() -> None:
    config = parse([*DATA, "--recipe", "beyond", "--lr", "0.001", "--clip", "0"])

    assert (config.recipe, config.init, config.random_captions, config.schedule) == (
        "beyond",
        "teacher",
        True,
        "cosine",
    )
    assert (config.warmup_steps, config.weight_decay, config.precision) == (500, 0.05, "auto")
    assert (config.lr, config.clip) == (0.001, 0.0)
    assert (config.epochs, config.batch_size) == (15, 16)


def test_a_flag_with_the_default_value_overrides_the_recipe() -> None:
    assert parse([*DATA, "--recipe", "beyond", "--weight-decay", "0.01"]).weight_decay == 0.01
    assert not parse([*DATA, "--recipe", "beyond", "--no-random-captions"]).random_captions


def test_recipes_change_existing_settings_only() -> None:
    names = {item.name for item in dataclasses.fields(Config)}

    assert all(changes.keys() <= names for changes in RECIPES.values())


def test_every_setting_has_a_flag_with_help() -> None:
    for item in dataclasses.fields(Config):
        assert item.metadata["help"], item.name


def test_flags_set_their_fields() -> None:
    config = parse([*DATA, "--teacher", "none", "--alpha", "1", "--augment", "--epochs", "3", "--limit", "200"])

    assert (config.teacher, config.alpha, config.augment, config.epochs, config.limit) == ("none", 1.0, True, 3, 200)
    assert config.data == ("coco:c.json:i",)


def test_data_flags_may_be_repeated_and_mixed() -> None:
    config = parse(
        [*DATA, "--data", "jsonl:a", "wds:b", "--captions", "d.json", "--images", "e", "--val-data", "wds:f"]
    )

    assert config.train_sources == ("coco:c.json:i", "jsonl:a", "wds:b", CocoFiles(Path("d.json"), Path("e")))
    assert config.val_sources == ("wds:f",)
    assert parse(DATA).val_sources == ()


def test_a_configuration_survives_a_round_trip_through_a_checkpoint() -> None:
    config = parse([*DATA, "--val-captions", "v.json", "--val-images", "v", "--lr", "0.5"])

    assert Config.from_dict(config.as_dict()) == config
    assert Config.from_dict({"captions": ["c.json"], "images": ["i"], "gone": 1}).captions == (Path("c.json"),)


def test_a_configuration_is_saved_as_plain_values() -> None:
    assert {type(value) for value in parse(DATA).as_dict().values()} <= {str, int, float, bool, list}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--data is needed: coco:J:D"),
        (["--captions", "c.json", "d.json", "--images", "i"], "as many --images as --captions"),
        ([*DATA, "--teacher", "none"], "use --alpha 1"),
        ([*DATA, "--alpha", "1.5"], "between 0 and 1"),
        ([*DATA, "--temperature", "0"], "above 0"),
        ([*DATA, "--teacher", "none", "--alpha", "1", "--init", "teacher"], "use --init random"),
        ([*DATA, "--student", "s.pt", "--student-text-layers", "3"], "has its own shape"),
        ([*DATA, "--student", "s.pt", "--recipe", "beyond"], "use --init random"),
        ([*DATA, "--pseudo-fraction", "2"], "between 0 and 1"),
        ([*DATA, "--image-mse", "1", "--teacher-logits", "cache"], "with --teacher-logits online"),
        ([*DATA, "--alpha", "1", "--self-critical", "1"], "compares 2 or more captions of an image"),
        ([*DATA, "--self-critical", "5"], "with --alpha 1"),
        ([*DATA, "--alpha", "1", "--self-critical", "5", "--label-smoothing", "0.1"], "without --label-smoothing"),
        ([*DATA, "--classes-only", "1"], "--classes-only must lie"),
        ([*DATA, "--ema", "1"], "--ema must lie"),
        ([*DATA, "--batch-size", "0"], "1 or more"),
        ([*DATA, "--train-fraction", "80"], "--train-fraction must lie between 0 and 1"),
        ([*DATA, "--train-fraction", "0"], "--train-fraction must lie between 0 and 1"),
        ([*DATA, "--train-fraction", "1"], "--train-fraction must lie between 0 and 1"),
        ([*DATA, "--lr", "nan"], "--lr must be a finite number"),
        ([*DATA, "--temperature", "inf"], "--temperature must be a finite number"),
        ([*DATA, "--novel-objects", "5"], "use it with 1 or more, a frozen stem, --teacher none"),
        ([*DATA, "--teacher", "none", "--alpha", "1", "--novel-objects", "5", "--stem-lr", "0.1"], "a frozen stem"),
        ([*DATA, "--teacher", "none", "--alpha", "1", "--novel-objects", "5", "--augment"], "--views if images are"),
        ([*DATA, "--teacher", "none", "--alpha", "1", "--novel-objects", "-1"], "use it with 1 or more"),
        ([*DATA, "--limit", "-1"], "--limit and --eval-limit must be 0 or more"),
        ([*DATA, "--recipe", "magic"], "invalid choice"),
        ([*DATA, "--epochs", "many"], "invalid int"),
    ],
)
def test_invalid_settings_are_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)

    assert words in capsys.readouterr().err


@pytest.mark.parametrize("repeat", [["1"], ["1", "2", "3"], ["0", "1"]])
def test_repeat_takes_a_count_for_each_data_set(repeat: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([*DATA, "--data", "wds:shards.tar", "--repeat", *repeat])

    assert "--repeat takes a whole number of 1 or more for each training data set." in capsys.readouterr().err


def test_repeat_survives_a_checkpoint() -> None:
    config = parse([*DATA, "--data", "wds:shards.tar", "--repeat", "4", "1"])

    assert config.repeat == (4, 1)
    assert Config.from_dict(config.as_dict()) == config
