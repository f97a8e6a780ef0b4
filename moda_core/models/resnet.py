"""ResNet for small images: a 3x3 stem without a pool, then four stages of residual blocks."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from moda_core.models.width import check_width


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual addition; both ReLUs are unit layers, the second one after the addition."""

    expansion: ClassVar[int] = 1  # output channels in widths

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(inputs, width, stride)

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.downsample(images), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a residual addition; three unit layers, the last one after the addition.

    The stride is on the 3x3 convolution, as in torchvision (the paper has it on the first 1x1).
    """

    expansion: ClassVar[int] = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _downsample(inputs, outputs, stride)

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.downsample(images), inplace=True)


class ResNet(nn.Module):
    """A residual network.

    Args:
        in_channels: channels of the image.
        image_size: its height and width (any of at least 8 with four stages: the last pool is global).
        num_classes: number of logits.
        blocks: residual blocks in each stage; every stage but the first halves the image and doubles the width.
        width: channels of the first stage (of the stem, and of the convolutions inside its blocks).
        block: the kind of block.

    Raises:
        ValueError: images that are too small, or a width below 1.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        image_size: int,
        num_classes: int,
        blocks: Sequence[int],
        width: int = 64,
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock,
    ) -> None:
        super().__init__()
        if image_size < 2 ** (len(blocks) - 1):
            raise ValueError(f"resnet needs images of at least {2 ** (len(blocks) - 1)} pixels, not {image_size}")
        check_width(width)
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages: list[nn.Module] = []
        inputs = width
        for stage, count in enumerate(blocks):
            for index in range(count):
                stages.append(block(inputs, width * 2**stage, stride=2 if stage > 0 and index == 0 else 1))
                inputs = width * 2**stage * block.expansion
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


def resnet50(*, in_channels: int, image_size: int, num_classes: int, width: int = 64) -> ResNet:
    """ResNet50 with a 3x3 stem: 16 bottleneck blocks, 49 unit layers."""
    return ResNet(
        in_channels=in_channels,
        image_size=image_size,
        num_classes=num_classes,
        blocks=(3, 4, 6, 3),
        width=width,
        block=Bottleneck,
    )


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Module:
    """What brings a block's input to the shape of its output."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
