"""``width``, the one size that all networks by name share: the channels of the first stage, everything else follows.

At its default a network has the published channels (VGG16 and ResNets 64, MobileNet-v1 32, LeNet-5 6). Every other
layer keeps its published ratio to the first one, rounded to the nearest whole number (which concerns the second
convolution of LeNet-5 alone).
"""


def check_width(width: int) -> None:
    """Refuse what is not a width.

    Raises:
        ValueError: anything but a whole number of at least 1.
    """
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise ValueError(f"model.width={width!r} must be a whole number of at least 1: the channels of the first stage")
