"""LeNet-5 with ReLU: two convolutions and two hidden layers, four unit layers in all."""

from torch import Tensor, nn

from moda_core.models.width import check_width


class LeNet5(nn.Module):
    """LeNet-5 for square images of at least 12 x 12, or 16 x 16 without padding.

    Args:
        in_channels: channels of the image.
        image_size: its height and width.
        num_classes: number of logits.
        width: channels of the first convolution; the second has 16 / 6 as many (rounded to the nearest), the hidden
            layers 20 and 14 times as many.
        padding: of the first convolution: 2, or 0 as in the published network, which has 62,006 parameters for
            3 x 32 x 32 images and 10 classes.

    Raises:
        ValueError: images that are too small, a width below 1, or a padding below 0.
    """

    def __init__(
        self, *, in_channels: int, image_size: int, num_classes: int, width: int = 6, padding: int = 2
    ) -> None:
        super().__init__()
        check_width(width)
        if padding < 0:
            raise ValueError(f"model.padding={padding} must be at least 0")
        side = ((image_size + 2 * padding - 4) // 2 - 4) // 2  # 5x5, pool, 5x5, pool
        if side < 1:
            least = 16 - 2 * padding
            raise ValueError(f"lenet5 needs images of at least {least} x {least}, not {image_size} x {image_size}")
        second, hidden = round(width * 16 / 6), (width * 20, width * 14)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, second, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(second * side * side, hidden[0]),
            nn.ReLU(),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(),
        )
        self.head = nn.Linear(hidden[1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.classifier(self.features(images)))
        return logits
