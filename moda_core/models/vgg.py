"""VGG with batch normalisation, from any list of widths: VGG16 is one of them, the small nets for digits are others."""

from collections.abc import Sequence

from torch import Tensor, nn

from moda_core.models.width import check_width

VGG16_WIDTHS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
VGG16_HIDDEN = (4096, 4096)


class VGG(nn.Module):
    """3x3 convolutions with batch normalisation and ReLU, ``"M"`` for a 2x2 max pool, then fully connected layers.

    Args:
        in_channels: channels of the image.
        image_size: its height and width.
        num_classes: number of logits.
        widths: output channels of each convolution, ``"M"`` for a pool. Default: VGG16.
        hidden: widths of the fully connected hidden layers (no dropout). Default: VGG16's 4096, 4096.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        image_size: int,
        num_classes: int,
        widths: Sequence[int | str] = VGG16_WIDTHS,
        hidden: Sequence[int] = VGG16_HIDDEN,
    ) -> None:
        super().__init__()
        features: list[nn.Module] = []
        channels, side = in_channels, image_size
        for width in widths:
            if width == "M":
                features.append(nn.MaxPool2d(2))
                side //= 2
            elif isinstance(width, int) and width > 0:
                features += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
            else:
                raise ValueError(f"model.widths holds {width!r}; give positive whole numbers and 'M' for a pool")
        if side < 1:
            pools = list(widths).count("M")
            raise ValueError(f"{pools} pools need images of at least {2**pools} pixels, not {image_size}")
        classifier: list[nn.Module] = [nn.Flatten()]
        inputs = channels * side * side
        for width in hidden:
            classifier += [nn.Linear(inputs, width), nn.ReLU(inplace=True)]
            inputs = width
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(*classifier)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.classifier(self.features(images)))
        return logits


def vgg16(*, in_channels: int, image_size: int, num_classes: int, width: int = 64) -> VGG:
    """VGG16 with batch normalisation and without dropout: 15 unit layers.

    Args:
        in_channels: channels of the image.
        image_size: its height and width, at least 32.
        num_classes: number of logits.
        width: channels of the first convolution; all other convolutions and the hidden layers follow.

    Raises:
        ValueError: images that are too small, or a width below 1.
    """
    check_width(width)
    return VGG(
        in_channels=in_channels,
        image_size=image_size,
        num_classes=num_classes,
        widths=[
            width_at_64 if isinstance(width_at_64, str) else width_at_64 // 64 * width for width_at_64 in VGG16_WIDTHS
        ],
        hidden=[width_at_64 // 64 * width for width_at_64 in VGG16_HIDDEN],
    )
