"""ResNet for small images: a 3x3 stem without a pool, then four stages of residual blocks."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual addition; both ReLUs are unit layers, the second one after the addition."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.downsample(images), inplace=True)


class ResNet(nn.Module):
    """A residual network of basic blocks.

    Args:
        in_channels: channels of the image.
        image_size: its height and width (any: the last pool is global).
        num_classes: number of logits.
        blocks: residual blocks in each stage; every stage but the first halves the image and doubles the width.
        width: channels of the first stage.
    """

    def __init__(
        self, *, in_channels: int, image_size: int, num_classes: int, blocks: Sequence[int], width: int = 64
    ) -> None:
        super().__init__()
        if image_size < 2 ** (len(blocks) - 1):
            raise ValueError(f"resnet needs images of at least {2 ** (len(blocks) - 1)} pixels, not {image_size}")
        if width < 1:
            raise ValueError(f"model.width={width} must be at least 1")
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages: list[nn.Module] = []
        inputs = width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage
            for block in range(count):
                stages.append(BasicBlock(inputs, outputs, stride=2 if stage > 0 and block == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)), inplace=True)
        out = self.pool(self.blocks(out))
        logits: Tensor = self.head(out.flatten(1))
        return logits


def resnet18(*, in_channels: int, image_size: int, num_classes: int, width: int = 64) -> ResNet:
    """ResNet18 with a 3x3 stem: 17 unit layers."""
    return ResNet(
        in_channels=in_channels, image_size=image_size, num_classes=num_classes, blocks=(2, 2, 2, 2), width=width
    )
