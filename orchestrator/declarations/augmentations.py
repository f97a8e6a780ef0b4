"""The transforms of torchvision by which training images may be augmented, by torchvision's names.

Each works on one image and leaves its size and its class as they are.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    """A parameter of a transform: a number, or a list of two where torchvision takes a range or one for each axis.

    Attributes:
        low: the smallest number.
        high: the largest one.
        is_whole: whether it is a whole number.
    """

    low: float
    high: float
    is_whole: bool = False


_SHARE, _FACTOR, _ANGLE = Parameter(0, 1), Parameter(0, 10), Parameter(-180, 180)
_CHANCE = {"p": _SHARE}

AUGMENTATIONS: dict[str, dict[str, Parameter]] = {
    "AugMix": {
        "severity": Parameter(1, 10, is_whole=True),
        "mixture_width": Parameter(1, 10, is_whole=True),
        "chain_depth": Parameter(-1, 10, is_whole=True),
        "alpha": Parameter(0.01, 10),
    },
    "AutoAugment": {},
    "ColorJitter": {"brightness": _FACTOR, "contrast": _FACTOR, "saturation": _FACTOR, "hue": Parameter(-0.5, 0.5)},
    "GaussianBlur": {"kernel_size": Parameter(1, 31, is_whole=True), "sigma": Parameter(0.01, 10)},
    "RandAugment": {"num_ops": Parameter(1, 10, is_whole=True), "magnitude": Parameter(0, 30, is_whole=True)},
    "RandomAdjustSharpness": {"sharpness_factor": _FACTOR, **_CHANCE},
    "RandomAffine": {"degrees": _ANGLE, "translate": _SHARE, "scale": Parameter(0.01, 10), "shear": _ANGLE},
    "RandomAutocontrast": _CHANCE,
    "RandomEqualize": _CHANCE,
    "RandomErasing": {"scale": _SHARE, "ratio": Parameter(0.01, 100), "value": Parameter(0, 255), **_CHANCE},
    "RandomGrayscale": _CHANCE,
    "RandomInvert": _CHANCE,
    "RandomPerspective": {"distortion_scale": _SHARE, **_CHANCE},
    "RandomPosterize": {"bits": Parameter(1, 8, is_whole=True), **_CHANCE},
    "RandomRotation": {"degrees": _ANGLE},
    "RandomSolarize": {"threshold": Parameter(0, 255), **_CHANCE},
    "RandomVerticalFlip": _CHANCE,
    "TrivialAugmentWide": {"num_magnitude_bins": Parameter(2, 100, is_whole=True)},
}
MIXING = ("CutMix", "MixUp")  # of the images of two classes
