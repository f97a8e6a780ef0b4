"""A method's step after training, which goes on where a killed attempt of the trial left it."""

import io
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from moda_core.methods import Method
from orchestrator.storage import Files
from orchestrator.training.batches import Workers
from orchestrator.training.data import ImageSet
from orchestrator.training.sealing import read_checkpoint_file, seal, unseal


def take_step_after(
    method: Method,
    network: nn.Module,
    parts: nn.Module | None,
    images: ImageSet,
    num_classes: int,
    workers: Workers,
    files: Files,
    name: str,
    *,
    seed: int,
) -> float:
    """Let a method do what it does after training, with network and parts in eval mode. Every attempt begins with the
    same global random generator, whatever was trained in it.

    Args:
        method: with such a step.
        network: trained.
        parts: the method's own.
        images: the training images, on the network's device.
        num_classes: number of classes.
        workers: who is here.
        files: the storage.
        name: of the step's checkpoint in it.
        seed: of the training.

    Returns:
        The seconds that it took, over all attempts that saved something.
    """
    device = images.labels.device
    checkpoint = _Checkpoint.read(files, name, workers, device)
    torch.manual_seed(seed)
    network.eval()
    if parts is not None:
        parts.eval()
    method.after(network, parts, images, num_classes=num_classes, workers=workers, checkpoint=checkpoint)
    return checkpoint.seconds


@dataclass
class _Checkpoint:
    """Keeps a step's state in a file; the first worker writes it."""

    files: Files
    name: str
    workers: Workers
    state: Any
    before: float  # seconds of earlier attempts
    started: float

    @classmethod
    def read(cls, files: Files, name: str, workers: Workers, device: torch.device) -> "_Checkpoint":
        def load(data: bytes) -> dict[str, Any]:
            kept = torch.load(io.BytesIO(unseal(data)), map_location=device, weights_only=True)
            return {"state": kept["state"], "seconds": kept["seconds"]}

        kept = read_checkpoint_file(files, name, load) or {"state": None, "seconds": 0.0}
        return cls(files, name, workers, kept["state"], kept["seconds"], time.perf_counter())

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started

    def save(self, state: Any) -> None:
        self.state = state
        if self.workers.rank == 0:
            buffer = io.BytesIO()
            torch.save({"state": state, "seconds": self.seconds}, buffer)
            self.files.write(self.name, seal(buffer.getvalue()))
