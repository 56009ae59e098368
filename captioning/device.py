"""The device that the models compute on."""

from __future__ import annotations

import joblib
import torch

from captioning.errors import StudentError
from common.settings import Settings
from common.translation import _


def limit_threads() -> None:
    """Limit torch's threads to the processors that this process may use. Call once, before any computation.

    By default torch takes one thread per processor of the machine. In a container limited to two processors, these
    threads slow each other down.
    """
    torch.set_num_threads(min(torch.get_num_threads(), joblib.cpu_count()))


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
