"""The device that the models compute on."""

from __future__ import annotations

import torch

from captioning.student.errors import StudentError
from common.settings import Settings
from common.translation import _


def choose_device(settings: Settings) -> torch.device:
    """Return the device of `CAPTIOND_DEVICE`; `auto` is the first CUDA device, else the CPU.

    Limits this process to `CAPTIOND_GPU_MEMORY` of a GPU. Raises `StudentError` if the device does not exist.
    """
    available = torch.cuda.device_count()
    if settings.device == "cpu" or (settings.device == "auto" and not available):
        return torch.device("cpu")
    device = torch.device("cuda:0" if settings.device in ("auto", "cuda") else settings.device)
    if device.index >= available:
        raise StudentError(
            _(
                "CAPTIOND_DEVICE is {device}, but PyTorch finds {count} CUDA devices. Install PyTorch's CUDA build and "
                "NVIDIA's driver, or choose another device.",
                device=settings.device,
                count=available,
            )
        )
    torch.cuda.set_per_process_memory_fraction(settings.gpu_memory, device)
    return device
