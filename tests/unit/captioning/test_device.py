"""`CAPTIOND_DEVICE` and `CAPTIOND_GPU_MEMORY` on machines with and without GPUs."""

from __future__ import annotations

import pytest
import torch

from captioning.device import choose_device
from captioning.errors import StudentError
from common.settings import Settings, SettingsError


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """Two GPUs, and the memory limits that were set on them."""
    set_limits: list[tuple[float, str]] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda,
        "set_per_process_memory_fraction",
        lambda fraction, device: set_limits.append((fraction, str(device))),
    )
    return set_limits


@pytest.mark.parametrize(
    ("setting", "expected"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")]
)
def test_the_setting_selects_a_gpu_or_the_cpu(limits: list[tuple[float, str]], setting: str, expected: str) -> None:
    assert str(choose_device(Settings(device=setting))) == expected


def test_auto_is_the_cpu_on_a_machine_without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    assert str(choose_device(Settings())) == "cpu"


@pytest.mark.parametrize("device", ["cuda", "cuda:2"])
def test_a_missing_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0 if device == "cuda" else 2)

    with pytest.raises(StudentError, match=rf"CAPTIOND_DEVICE is {device}, but PyTorch finds \d CUDA devices"):
        choose_device(Settings(device=device))


def test_the_memory_limit_is_set_on_the_selected_gpu(limits: list[tuple[float, str]]) -> None:
    choose_device(Settings(device="cuda:1", gpu_memory=0.5))

    assert limits == [(0.5, "cuda:1")]


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU"])
def test_another_name_is_refused(device: str) -> None:
    with pytest.raises(SettingsError, match="It must be auto, cpu, cuda, or cuda:"):
        Settings(device=device)
