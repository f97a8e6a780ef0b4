"""Networks that break while they are trained, as users' own do; whole when they are built, traced and counted."""

import os
import signal
from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor, nn


def _out_of_memory(gradient: Tensor) -> NoReturn:
    raise MemoryError("no memory for the gradient")


def _out_of_gpu_memory(gradient: Tensor) -> NoReturn:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB")


FAULTS: list[Callable[[Tensor], Tensor | None]] = [
    lambda gradient: None,
    lambda gradient: os._exit(7),
    _out_of_memory,
    lambda gradient: gradient * float("nan"),
    lambda gradient: os.kill(os.getpid(), signal.SIGKILL),  # what the out-of-memory killer does
    _out_of_gpu_memory,
]


class Faulty(nn.Sequential):
    """A small network with batch norm and dropout, whose second backward pass ends as ``FAULTS`` says: the first one is
    the dry run's, in the driver."""

    def __init__(self, in_channels: int, image_size: int, num_classes: int, fault: float = 0) -> None:
        super().__init__(
            nn.Conv2d(in_channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(8 * (image_size // 2) ** 2, num_classes),
        )
        self.backward_passes, self.fault = 0, FAULTS[int(fault)]
        self[0].weight.register_hook(self.end)

    def end(self, gradient: Tensor) -> Tensor | None:
        """What a backward pass makes of the gradient."""
        self.backward_passes += 1
        return gradient if self.backward_passes == 1 else self.fault(gradient)
