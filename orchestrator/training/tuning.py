"""Tuning: a module is trained for some epochs more, on the training images of its classes, as MwT and NeMo publish it.

SGD with Nesterov momentum 0.9, learning rate 0.05 falling by epoch as a cosine over twice the epochs that there are
(so that it ends at about half), no weight decay, batches of 128, cropped and flipped as the training was. All of the
module's weights train, batch norm takes the statistics of batches, and the last epoch counts. The logits are those of
the module itself, unless the method puts a head on it (``Method.tuning_head``), as the published code does.
"""

import collections
import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from moda_core.methods import METHODS
from orchestrator.config import Config
from orchestrator.training.data import ImageSet
from orchestrator.training.loop import Diverged, train

RATE, MOMENTUM, BATCH = 0.05, 0.9, 128


def tune(module: nn.Module, images: ImageSet, config: Config) -> nn.Module:
    """Tune a module in place, and return it in eval mode. If its loss diverges it stays as the last epoch left it.

    Args:
        module: a cut network with a logit for each of its classes, on the images' device.
        images: from :func:`images_of`.
        config: of the trial; the seed is that of its training.
    """
    epochs = config.evaluation.tuned_epochs
    training = replace(
        config.training,
        epochs=2 * epochs,
        learning_rate=RATE,
        momentum=MOMENTUM,
        batch_size=BATCH,
        optimizer="sgd",
        schedule="epoch",
        warmup_epochs=0.0,
        compile="none",
        weight_decay=0.0,
        num_workers=1,
        sync_batch_norm=False,
    )
    classes = int(images.labels.max()) + 1
    crop, flip = config.data.crop, config.data.flip
    trained = train(module, images, training, METHODS["standard"](), num_classes=classes, crop=crop, flip=flip)
    with contextlib.suppress(Diverged):
        collections.deque(itertools.islice(trained, epochs), maxlen=0)
    return module.eval()


def images_of(images: ImageSet, class_ids: Sequence[int]) -> ImageSet:
    """The images of some classes, whose labels are their places among ``class_ids``."""
    place_C = torch.full((int(images.labels.max()) + 1,), -1, device=images.labels.device)
    place_C[list(class_ids)] = torch.arange(len(class_ids), device=place_C.device)
    labels = place_C[images.labels]
    index = (labels >= 0).nonzero().flatten()
    return replace(images.part(index), labels=labels[index])
