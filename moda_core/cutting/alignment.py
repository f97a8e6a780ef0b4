"""The layers of a cut network that put channels where their readers expect them."""

import torch
from torch import Tensor, nn

from moda_core.choosing import Select


class Fill(nn.Module):
    """Constant channels for as many images as it is given; their size is that for images of ``image_size``."""

    def __init__(self, constants_C: Tensor, size: tuple[int, ...], image_size: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("constants_C", constants_C)
        self.constants_C: Tensor
        self.size, self.image_size = size, image_size

    def forward(self, images: Tensor) -> Tensor:
        if tuple(images.shape[2:]) != self.image_size:
            raise ValueError(f"images are {tuple(images.shape[2:])}; this network was cut for {self.image_size}")
        constants = self.constants_C.view(1, -1, *[1] * len(self.size))
        return constants.expand(images.shape[0], -1, *self.size)


class Place(nn.Module):
    """Puts channels at an index among constant ones."""

    def __init__(self, index: Tensor, constants_C: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.register_buffer("constants_C", constants_C)
        self.index: Tensor
        self.constants_C: Tensor

    def forward(self, values: Tensor) -> Tensor:
        constants = self.constants_C.to(values.dtype).view(1, -1, *[1] * (values.ndim - 2))
        return constants.expand(values.shape[0], -1, *values.shape[2:]).index_copy(1, self.index, values)


class AddAt(nn.Module):
    """Adds a branch of fewer channels to one that has them all."""

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.index: Tensor

    def forward(self, whole: Tensor, part: Tensor) -> Tensor:
        return whole.index_add(1, self.index, part)


class Concat(nn.Module):
    """Puts branches side by side."""

    def forward(self, *branches: Tensor) -> Tensor:
        return torch.cat(branches, 1)


class UnevenGroups(nn.Module):
    """A grouped convolution whose groups differ in width: groups of the same widths run as one convolution."""

    def __init__(self, convolutions: list[nn.Module], inputs: list[Tensor], order: Tensor) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.selects = nn.ModuleList(Select(index) for index in inputs)
        self.order = Select(order)

    def forward(self, images: Tensor) -> Tensor:
        parts = [run(take(images)) for take, run in zip(self.selects, self.convolutions, strict=True)]
        ordered: Tensor = self.order(torch.cat(parts, 1))
        return ordered
