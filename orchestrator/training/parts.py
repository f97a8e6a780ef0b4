"""The parts of stored images that training sees: squares of one side, or of any scale.

Shapes: B images of ch channels and side S, of which a part of side s is seen; T tries at a part.
"""

import math

import torch
from torch import Tensor

from orchestrator.training.data import ImageSet

TRIES = 10
AREAS = (0.08, 1.0)  # of an image, that a part of any scale has
RATIOS = (3 / 4, 4 / 3)  # of its width to its height


def random_parts(images: ImageSet, pixels_BcSS: Tensor, places_B2: Tensor, shapes_BT2: Tensor) -> Tensor:
    """Parts of some images, (B, ch, s, s) uint8; the images themselves if the whole of them is seen.

    A part of any scale has 8 to 100 % of the area, and proportions from 3:4 to 4:3; it is resized as Pillow would. The
    first of the tries that fits into the image counts, and if none does the part is the whole image. So does
    torchvision's ``RandomResizedCrop``.

    Args:
        images: the training images.
        pixels_BcSS: some of them as they are stored, uint8.
        places_B2: numbers from 0 to 1: how far down, and how far to the right a part is.
        shapes_BT2: numbers from 0 to 1: how large the area is, and how wide the part.
    """
    side, device = images.seen, pixels_BcSS.device
    if side is None:
        return pixels_BcSS
    places_B2, largest = places_B2.to(device), pixels_BcSS.shape[-1]
    if images.is_scaled:
        heights_B, widths_B = _shapes(shapes_BT2.to(device), largest)
    else:
        heights_B = widths_B = torch.full((len(pixels_BcSS),), side, device=device)
    tops_B = _starts(places_B2[:, 0], heights_B, largest)
    lefts_B = _starts(places_B2[:, 1], widths_B, largest)
    if not images.is_scaled:
        # A GPU would wait for the places; on a CPU whole rows are copied, which is many times as fast.
        return (_slices if device.type == "cpu" else windows)(pixels_BcSS, tops_B, lefts_B, side, side)
    rows_B1sS = _weights(tops_B, heights_B, side, largest)[:, None]
    columns_B1sS = _weights(lefts_B, widths_B, side, largest)[:, None]
    parts_Bcss = rows_B1sS @ pixels_BcSS.float() @ columns_B1sS.mT
    return parts_Bcss.round().clamp(0, 255).to(torch.uint8)


def windows(images: Tensor, tops_B: Tensor, lefts_B: Tensor, height: int, width: int) -> Tensor:
    """A window of each image, (B, ch, height, width), by the place of its corner."""
    device = images.device
    rows = (tops_B[:, None] + torch.arange(height, device=device))[:, None, :, None]
    columns = (lefts_B[:, None] + torch.arange(width, device=device))[:, None, None, :]
    numbers = torch.arange(len(images), device=device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=device)[None, :, None, None]
    return images[numbers, channels, rows, columns]


def _slices(images: Tensor, tops_B: Tensor, lefts_B: Tensor, height: int, width: int) -> Tensor:
    """The same as :func:`windows`."""
    cut = images.new_empty((*images.shape[:2], height, width))
    for target, image, top, left in zip(cut, images, tops_B.tolist(), lefts_B.tolist(), strict=True):
        target.copy_(image[:, top : top + height, left : left + width])
    return cut


def _starts(places_B: Tensor, lengths_B: Tensor, largest: int) -> Tensor:
    """Where lengths begin, each place in ``largest`` equally likely."""
    free_B = largest - lengths_B
    return torch.minimum((places_B * (free_B + 1)).long(), free_B)


def _shapes(shapes_BT2: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Heights and widths of parts of any scale."""
    low, high = (math.log(ratio) for ratio in RATIOS)
    areas_BT = side**2 * (AREAS[0] + (AREAS[1] - AREAS[0]) * shapes_BT2[:, :, 0])
    ratios_BT = (low + (high - low) * shapes_BT2[:, :, 1]).exp()
    sizes_BT2 = torch.stack([(areas_BT / ratios_BT).sqrt(), (areas_BT * ratios_BT).sqrt()], 2).round().long()
    fits_BT = ((sizes_BT2 > 0) & (sizes_BT2 <= side)).all(2)
    first_B = fits_BT.int().argmax(1)
    chosen_B2 = sizes_BT2[torch.arange(len(first_B), device=first_B.device), first_B]
    chosen_B2 = torch.where(fits_BT.any(1)[:, None], chosen_B2, side)
    return chosen_B2[:, 0], chosen_B2[:, 1]


def _weights(starts_B: Tensor, lengths_B: Tensor, side: int, largest: int) -> Tensor:
    """What each of ``largest`` stored pixels adds to each of ``side`` seen ones, along one dimension: a triangle as
    wide as two seen pixels, or two stored ones where those are larger.
    """
    device = starts_B.device
    steps_B11 = (lengths_B / side)[:, None, None]
    centres_Bs1 = (torch.arange(side, device=device) + 0.5)[None, :, None] * steps_B11
    places_B1S = torch.arange(largest, device=device)[None, None] - starts_B[:, None, None]
    weights_BsS = (1 - (places_B1S + 0.5 - centres_Bs1).abs() / steps_B11.clamp(min=1)).clamp(min=0)
    weights_BsS = weights_BsS * ((places_B1S >= 0) & (places_B1S < lengths_B[:, None, None]))
    return weights_BsS / weights_BsS.sum(2, keepdim=True)
