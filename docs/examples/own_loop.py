"""MODA's losses in a training loop of your own: all it needs of this project is `moda_core`.

Usage: python own_loop.py FOLDER [EPOCHS]

Trains a small network on scikit-learn's digits with the three losses beside the cross-entropy, chooses the units of
each class, composes the modules of two classes, and writes all of them as a module set to FOLDER, a new folder.
"""

import sys

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from moda_core import (
    compose,
    count_frequencies,
    keep_masks,
    load_modules,
    modular_losses,
    module_metrics,
    save_modules,
    unit_layers,
    watch_units,
)

ALPHA, BETA, GAMMA = 1.0, 1.0, 0.3  # of affinity, dispersion and compactness, as published
TAU = 0.9  # a class keeps the units that are active on at least this share of its images
MEAN, STD = 0.3, 0.38  # of the pixels, scaled to [0, 1]
folder, epochs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10
torch.manual_seed(0)

images, labels = load_digits(return_X_y=True)
pixels = torch.from_numpy(np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8))
inputs, labels = (pixels / 255 - MEAN) / STD, torch.from_numpy(labels)
train, test = train_test_split(np.arange(len(labels)), test_size=397, stratify=labels, random_state=0)

network = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10),
)  # fmt: skip

# The same network, with the same parameters, whose call also gives the units of every layer.
layers = unit_layers(network, inputs[:2])
watched = watch_units(network, layers)

batches = DataLoader(TensorDataset(inputs[train], labels[train]), batch_size=64, shuffle=True)
optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
watched.train()
for epoch in range(epochs):
    for batch, target in batches:
        logits, units = watched(batch)
        terms = modular_losses(units, target, num_classes=10)
        modular = ALPHA * terms.affinity + BETA * terms.dispersion + GAMMA * terms.compactness
        loss = F.cross_entropy(logits, target) + modular
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}, of it modular {modular.item():.3f}")

# Which units each class keeps: counted once on the training images, then chosen by tau.
network.eval()
counted = DataLoader(TensorDataset(inputs[train], labels[train]), batch_size=256)
frequencies = count_frequencies(network, layers, counted, num_classes=10)
masks = keep_masks(frequencies, TAU)
size = module_metrics(network, layers, masks, inputs[:2]).cut_size
print(f"a module has {100 * size:.1f} % of the network's parameters on average")

# The modules of 3 and 8 as one network with two logits.
module = compose(network, layers, masks, [3, 8], inputs[:2])
chosen = [index for index in test if labels[index] in (3, 8)]
answers = torch.tensor([3, 8])[module(inputs[chosen]).argmax(1)]
right = int((answers == labels[chosen]).sum())
print(f"3 or 8: {right} of {len(chosen)} test images right")

# All modules on disk, for projects that need no code of this network: load_modules(folder, ["3", "8"]).
save_modules(
    folder,
    network,
    layers,
    masks,
    inputs[:8],
    class_names=[str(digit) for digit in range(10)],
    preprocessing={"shape": [1, 8, 8], "mean": [MEAN], "std": [STD]},
)
assert load_modules(folder, ["3", "8"]).classify(pixels[chosen]) == [str(digit) for digit in answers.tolist()]
