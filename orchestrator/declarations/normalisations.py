"""Constants by which published code normalises images, by the data set that they come from.

Mean and standard deviation of each channel, of images scaled to [0, 1]. Those of CIFAR-10 and the use of ImageNet's for
SVHN are from the code of MwT, on which MODA's is built. Those of ``cifar100`` are the statistics of its training
images, ``cifar100_published`` what MODA's code has instead.
"""

Constants = tuple[tuple[float, ...], tuple[float, ...]]

NORMALISATIONS: dict[str, Constants] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "cifar100_published": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
