"""Classify digits with a module of two classes: all it needs of this project is ``moda_core``.

Usage: python two_classes.py MODULES CLASS CLASS
"""

import sys

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from moda_core import load_modules

folder, *classes = sys.argv[1:]
module = load_modules(folder, classes=classes)

# The test images of the digits data set, as `data=digits` splits them.
images, labels = load_digits(return_X_y=True)
pixels = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
_, pixels, _, labels = train_test_split(pixels, labels, test_size=397, stratify=labels, random_state=0)
mine = np.isin(labels, [int(name) for name in classes])
pixels, labels = torch.from_numpy(pixels[mine]), [str(label) for label in labels[mine]]

found = module.classify(pixels)
right = sum(one == other for one, other in zip(found, labels, strict=True))
count = sum(tensor.numel() for tensor in module.parameters())
full = module.manifest["about"]["full_parameters"]
print(f"classes {' and '.join(classes)}: {count:,} of the full network's {full:,} parameters")
print(f"{right} of {len(labels)} test images right ({100 * right / len(labels):.1f} %)")
for index in range(0, len(labels), 16):
    print(f"  image {index}: {labels[index]}, module says {found[index]}")
