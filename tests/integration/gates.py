"""Trainings that stop at a gate, so that a test kills or interrupts them where it means to, on any machine."""

import itertools
import os
import subprocess
import time
from pathlib import Path

from torch import Tensor, nn

from tests.integration.waiting import wait_until

IMAGES, BATCH = 200, 40
STEPS = 4  # an epoch's: a fifth of the images is held out


class Gated(nn.Sequential):
    """A small network with dropout. Each of its trainings waits once, at a backward pass, until the gate is open.

    Args:
        gate: the folder of a :class:`Gate`.
        passes: how many backward passes go before the one that waits.
    """

    def __init__(self, in_channels: int, image_size: int, num_classes: int, gate: str, passes: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, 8, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(8 * image_size**2, num_classes),
        )
        count = itertools.count()

        def wait(gradient: Tensor) -> None:
            if next(count) == passes:
                wait_at(Path(gate))

        self[0].weight.register_hook(wait)


class Gate:
    """Where trainings of :class:`Gated` wait: after ``epochs`` whole epochs. The first one's checkpoint is written.

    Args:
        folder: a new folder.
        epochs: how many a training has done when it waits.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        folder.mkdir()
        self._folder, self._epochs, self._passed = folder, epochs, 0

    @property
    def overrides(self) -> tuple[str, ...]:
        """A configuration whose trainings wait here."""
        return (
            "data=digits",
            f"data.limit={IMAGES}",
            "model=own",
            "model.name=tests.integration.gates:Gated",
            f"model.gate={self._folder}",
            f"model.passes={self._epochs * STEPS}",
            f"training.batch_size={BATCH}",
            "training.learning_rate=0.01",
            "evaluation.taus=[0.5,0.9]",
            "evaluation.levels=[0.1]",
            "evaluation.targets=[]",
        )

    def is_reached_by(self, process: subprocess.Popen[str]) -> bool:
        """Wait until the next training of ``process`` waits here: True; or the process has ended: False."""
        arrival = self._folder / f"arrived-{self._passed}"
        wait_until(lambda: arrival.exists() or process.poll() is not None, "a training at the gate")
        return arrival.exists()

    @property
    def processes(self) -> list[int]:
        """The processes whose trainings have come here."""
        return [int(file.name.removeprefix("process-")) for file in self._folder.glob("process-*")]

    def let_one_pass(self) -> None:
        """The training that waits goes on; the next one waits again."""
        (self._folder / f"open-{self._passed}").touch()
        self._passed += 1

    def open(self) -> None:
        """For all, from now on."""
        (self._folder / "open").touch()


def wait_at(folder: Path) -> None:
    """Say that a training has arrived at the gate of a folder, and wait until it is open."""
    (folder / f"process-{os.getpid()}").touch()
    for number in itertools.count():
        try:
            (folder / f"arrived-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        break
    while not ((folder / "open").exists() or (folder / f"open-{number}").exists()):
        time.sleep(0.05)
