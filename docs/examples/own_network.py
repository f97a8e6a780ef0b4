"""Your own network as it stands, and one that takes its size from the data.

export PYTHONPATH=docs/examples
moda train model=own model.name=own_network:DigitNet data=digits
moda train model=own model.name=own_network:make data=fashion_mnist
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DigitNet(nn.Module):
    """A network as a tutorial has it: for grey images of 8 x 8 and ten classes, whatever the data are."""

    def __init__(self, channels: int = 1, classes: int = 10, side: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.hidden = nn.Linear(32 * (side // 4) ** 2, 32)
        # Without batch norm the shipped recipes would need a much lower learning rate.
        self.norms = nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(32), nn.BatchNorm1d(32)])
        self.head = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, classes) of images (B, channels, side, side)."""
        found = F.max_pool2d(F.relu(self.norms[0](self.first(images))), 2)
        found = F.max_pool2d(F.relu(self.norms[1](self.second(found))), 2)
        logits: Tensor = self.head(F.relu(self.norms[2](self.hidden(torch.flatten(found, 1)))))
        return logits


def make(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
    """The same network for any data: a function that is called with these three names."""
    return DigitNet(in_channels, num_classes, image_size)
