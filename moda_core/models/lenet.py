"""LeNet-5 with ReLU: two convolutions and two hidden layers, four unit layers in all."""

from torch import Tensor, nn

from moda_core.models.width import check_width


class LeNet5(nn.Module):
    """LeNet-5 for any square image of at least 12 x 12.

    Args:
        in_channels: channels of the image.
        image_size: its height and width.
        num_classes: number of logits.
        width: channels of the first convolution; the second has 16 / 6 as many (rounded to the nearest), the hidden
            layers 20 and 14 times as many.

    Raises:
        ValueError: images that are too small, or a width below 1.
    """

    def __init__(self, *, in_channels: int, image_size: int, num_classes: int, width: int = 6) -> None:
        super().__init__()
        check_width(width)
        side = ((image_size + 4 - 4) // 2 - 4) // 2  # 5x5 padded by 2, pool, 5x5, pool
        if side < 1:
            raise ValueError(f"lenet5 needs images of at least 12 x 12, not {image_size} x {image_size}")
        second, hidden = round(width * 16 / 6), (width * 20, width * 14)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 5, padding=2),
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
