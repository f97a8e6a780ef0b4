"""LeNet-5 with ReLU: two convolutions and two hidden layers, four unit layers in all."""

from torch import Tensor, nn


class LeNet5(nn.Module):
    """LeNet-5 for any square image of at least 12 x 12.

    Args:
        in_channels: channels of the image.
        image_size: its height and width.
        num_classes: number of logits.
    """

    def __init__(self, *, in_channels: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        side = ((image_size + 4 - 4) // 2 - 4) // 2  # 5x5 padded by 2, pool, 5x5, pool
        if side < 1:
            raise ValueError(f"lenet5 needs images of at least 12 x 12, not {image_size} x {image_size}")
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(16 * side * side, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()
        )
        self.head = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.classifier(self.features(images)))
        return logits
