"""MobileNet-v1 (arXiv 1704.04861) for small images: a stem and 13 depthwise separable blocks."""

from torch import Tensor, nn

from moda_core.models.width import check_width

# Output channels in widths of the stem, and the depthwise convolution's stride, of each block. As published.
BLOCKS = (
    (2, 1),
    (4, 2),
    (4, 1),
    (8, 2),
    (8, 1),
    (16, 2),
    *[(16, 1)] * 5,
    (32, 2),
    (32, 1),
)
SMALLEST_IMAGE = 16  # the strides divide by 16


class MobileNetV1(nn.Module):
    """MobileNet-v1: each block a 3x3 depthwise and a 1x1 convolution, both with batch normalisation and ReLU.

    The stem has stride 1 instead of the published 2, so that images of 32 x 32 end as 2 x 2 rather than 1 x 1; all
    other strides are the published ones. 27 unit layers: the stem, then two a block.

    Args:
        in_channels: channels of the image.
        image_size: its height and width, at least 16.
        num_classes: number of logits.
        width: channels of the stem; the last block has 32 times as many.

    Raises:
        ValueError: images that are too small, or a width below 1.
    """

    def __init__(self, *, in_channels: int, image_size: int, num_classes: int, width: int = 32) -> None:
        super().__init__()
        check_width(width)
        if image_size < SMALLEST_IMAGE:
            raise ValueError(f"mobilenet_v1 needs images of at least {SMALLEST_IMAGE} pixels, not {image_size}")
        self.stem = _convolution(in_channels, width, 3)
        blocks: list[nn.Module] = []
        inputs = width
        for multiple, stride in BLOCKS:
            outputs = width * multiple
            depthwise = _convolution(inputs, inputs, 3, stride=stride, groups=inputs)
            blocks.append(nn.Sequential(*depthwise, *_convolution(inputs, outputs, 1)))
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        out = self.pool(self.blocks(self.stem(images)))
        logits: Tensor = self.head(out.flatten(1))
        return logits


def _convolution(inputs: int, outputs: int, side: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
