"""The model leaves memory while no picture comes, and captions are the same once it is loaded again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from captioning.captioner import ModelUnavailable, Pixels, load_captioner
from captioning.errors import StudentError
from captioning.student import build, small_config
from captioning.student import captioner as student_captioner
from captioning.student.folder import save_folder
from captioning.unloading import RETRY_DELAY, UnloadingCaptioner
from common.jobs import ModelInfo
from common.settings import Settings
from common.translation import Message
from tests.support.clock import Clock
from tests.support.images import encoded
from tests.support.models import tiny_model, tiny_tokenizer
from tests.unit.worker.fakes import FakeCaptioner

IDLE_SECONDS = 600.0


class Loads:
    """Loads fake captioners; `error` is raised instead while it is set."""

    def __init__(self) -> None:
        self.captioners: list[FakeCaptioner] = []
        self.error: Exception | None = None

    def __call__(self) -> FakeCaptioner:
        if self.error:
            raise self.error
        self.captioners.append(FakeCaptioner())
        return self.captioners[-1]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log lines of unloading, without those of objects of other tests that unloading deletes."""
    return [record.message for record in caplog.records if record.name == "captioning.unloading"]


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def unloading(loads: Loads, clock: Clock) -> UnloadingCaptioner:
    return UnloadingCaptioner(loads(), loads, IDLE_SECONDS, clock)


@pytest.fixture
def pixels(unloading: UnloadingCaptioner) -> Pixels:
    return unloading.prepare(encoded())


def test_a_model_is_unloaded_after_the_seconds_without_a_picture(
    unloading: UnloadingCaptioner, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.advance(IDLE_SECONDS - 1)
    wait = unloading.unload_if_idle()
    before = unloading.loaded
    clock.advance(wait)
    with caplog.at_level(logging.INFO):
        unloading.unload_if_idle()
        unloading.unload_if_idle()

    assert (wait, before, unloading.loaded) == (1, True, False)
    assert logged(caplog) == ["The model is unloaded, as no picture came for 600 s. The next one loads it again."]


@pytest.mark.parametrize("step", ["prepare", "caption"])
def test_each_picture_begins_the_seconds_anew(
    step: str, unloading: UnloadingCaptioner, pixels: Pixels, clock: Clock
) -> None:
    steps: dict[str, Callable[[], object]] = {
        "prepare": lambda: unloading.prepare(encoded()),
        "caption": lambda: unloading.caption([pixels]),
    }
    clock.advance(IDLE_SECONDS - 1)
    steps[step]()
    clock.advance(IDLE_SECONDS - 1)

    assert (unloading.unload_if_idle(), unloading.loaded) == (1, True)


def test_a_model_is_not_unloaded_while_it_captions(
    unloading: UnloadingCaptioner, loads: Loads, pixels: Pixels, clock: Clock
) -> None:
    def call_for_an_hour() -> None:
        clock.advance(3600)
        assert unloading.unload_if_idle() == IDLE_SECONDS

    loads.captioners[0].on_caption = call_for_an_hour
    unloading.caption([pixels])

    assert unloading.loaded


@pytest.mark.parametrize("step", ["prepare", "caption"])
def test_the_next_picture_loads_the_model_once(
    step: str, unloading: UnloadingCaptioner, loads: Loads, pixels: Pixels, clock: Clock
) -> None:
    before = unloading.caption([pixels])
    clock.advance(IDLE_SECONDS)
    unloading.unload_if_idle()
    if step == "prepare":
        unloading.prepare(encoded())
    results = [unloading.caption([pixels]) for _ in range(2)]

    assert results == [before, before]
    assert (unloading.loaded, len(loads.captioners)) == (True, 2)


def test_weights_that_were_replaced_meanwhile_are_named(
    unloading: UnloadingCaptioner, loads: Loads, pixels: Pixels, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = ModelInfo(name="fake", version="sha256:2")
    monkeypatch.setattr("tests.unit.worker.fakes.MODEL", later)
    clock.advance(IDLE_SECONDS)
    unloading.unload_if_idle()
    before = unloading.model
    unloading.caption([pixels])

    assert (before.version, unloading.model) == ("sha256:1", later)


@pytest.mark.parametrize("error", [StudentError(Message("The file is gone.")), RuntimeError("CUDA out of memory")])
def test_a_model_that_cannot_be_loaded_again_is_tried_later(
    error: Exception,
    unloading: UnloadingCaptioner,
    loads: Loads,
    pixels: Pixels,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock.advance(IDLE_SECONDS)
    unloading.unload_if_idle()
    loads.error = error
    with pytest.raises(ModelUnavailable):
        unloading.caption([pixels])
    loads.error = None
    clock.advance(RETRY_DELAY - 1)
    with pytest.raises(ModelUnavailable):  # without an attempt
        unloading.prepare(encoded())
    clock.advance(1)
    unloading.caption([pixels])

    assert logged(caplog) == [f"The model cannot be loaded again: {error}"]
    assert unloading.loaded


class TestOfSettings:
    """`CAPTIOND_UNLOAD_AFTER` with real models."""

    def test_a_model_stays_in_memory_by_default(self, tmp_path: Path) -> None:
        save_folder(tiny_model(), tiny_tokenizer(), tmp_path)

        captioner = load_captioner(Settings(model=str(tmp_path), precision="fp32", max_length=8))

        assert not isinstance(captioner, UnloadingCaptioner)

    def test_the_process_shrinks_by_the_size_of_the_model(self, tmp_path: Path) -> None:
        tokenizer = tiny_tokenizer()
        model = build(small_config(tokenizer, image_size=32, vision=(768, 4, 8), text=(768, 2, 8))).eval()
        model_bytes = 4 * sum(weight.numel() for weight in model.parameters())
        save_folder(model, tokenizer, tmp_path / "large")
        del model
        captioner = load_captioner(Settings(model=str(tmp_path / "large"), precision="fp32", unload_after=IDLE_SECONDS))
        assert isinstance(captioner, UnloadingCaptioner)
        pixels = captioner.prepare(encoded())
        expected = captioner.caption([pixels])

        loaded = psutil.Process().memory_info().rss
        captioner._idle_seconds = 0.0
        captioner.unload_if_idle()
        unloaded = psutil.Process().memory_info().rss

        assert model_bytes > 150_000_000
        assert loaded - unloaded > 0.7 * model_bytes
        assert captioner.caption([pixels]) == expected

    def test_auto_loads_the_same_model_in_the_same_precision_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        save_folder(tiny_model(1), tiny_tokenizer(), tmp_path / "first")
        save_folder(tiny_model(2), tiny_tokenizer(), tmp_path / "second")
        monkeypatch.setattr("captioning.weights.candidates", lambda settings: iter([tmp_path / "first"]))
        monkeypatch.setattr(student_captioner, "choose_precision", lambda model: ("fp32", "it is the fastest"))
        captioner = load_captioner(Settings(data=tmp_path, max_length=8, unload_after=IDLE_SECONDS))
        assert isinstance(captioner, UnloadingCaptioner)
        model, pixels = captioner.model, captioner.prepare(encoded())
        expected = captioner.caption([pixels])

        monkeypatch.setattr("captioning.weights.candidates", lambda settings: iter([tmp_path / "second"]))
        monkeypatch.setattr(student_captioner, "choose_precision", lambda model: ("bf16", "it is the fastest now"))
        captioner._idle_seconds = 0.0
        captioner.unload_if_idle()

        assert captioner.caption([pixels]) == expected
        assert (captioner.model, captioner.precision) == (model, "fp32")
        assert captioner._captioner and captioner._captioner.precision == "fp32"
