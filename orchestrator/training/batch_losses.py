"""What a training computes of a batch: the augmented images, what the model says of them, the losses.

Shapes: B samples of a worker's part of a batch, ch x H x W an image.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moda_core.methods import Method
from orchestrator.errors import ConfigError
from orchestrator.training.batches import Batch, Workers, augmented, seen_part
from orchestrator.training.data import ImageSet


def computing(device: torch.device, precision: torch.dtype) -> AbstractContextManager[Any]:
    """Where forward passes run: autocast for half precision, nothing for float32."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, dtype=precision)


@dataclass(frozen=True)
class BatchLosses:
    """Computes the losses of batches.

    Attributes:
        model: what is shown the images, as :func:`prepare_training` gives it.
        images: the training images.
        method: what the loss is.
        num_classes: number of classes.
        crop: padding of a random crop, 0 for none.
        flip: whether to flip horizontally at random.
        precision: of the forward pass (autocast); losses stay in float32.
        workers: who shares the batches.
    """

    model: nn.Module
    images: ImageSet
    method: Method
    num_classes: int
    crop: int = 0
    flip: bool = False
    precision: torch.dtype = torch.float32
    workers: Workers = Workers()  # noqa: RUF009, which is frozen

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss to differentiate on this worker, and numbers to show: loss, cross-entropy, terms, accuracy.

        The mean over workers of each number is the global batch's.
        """
        return self.of_images(*self.read(batch), batch)

    def read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return this worker's images, (B, ch, H, W) uint8, and their labels, (B,): as :func:`seen_part` gives them,
        neither cropped nor flipped."""
        index_B = batch.mine.to(self.images.labels.device)
        stored = self.images.images[index_B] if batch.stored is None else batch.stored
        return seen_part(self.images, stored, batch), self.images.labels[index_B]

    def of_images(self, pixels: Tensor, labels: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the same of what :meth:`read` gives. This is what is compiled."""
        with computing(pixels.device, self.precision):
            output = model_output(self.model, self.images, augmented(pixels, batch, self.crop, self.flip))
        return shown_losses(
            output, labels, self.method, num_classes=self.num_classes, workers=self.workers, size=batch.size
        )


def model_output(model: nn.Module, images: ImageSet, pixels: Tensor) -> Any:
    """Return what ``model`` gives for this worker's part of a batch.

    A worker without any image shows it a stand-in and drops the row: it takes part in the step's collectives, and its
    gradients are 0. Not every network takes an empty batch itself; ``view(len(x), -1)`` does not.
    """
    if len(pixels) > 0:
        return model(images.normalise(pixels))
    return _without_rows(model(images.normalise(images.images[:1])))


def _without_rows(output: Any) -> Any:
    """Without the rows of a batch; what has no rows, such as the weights of layers, stays."""
    if isinstance(output, Tensor) and output.ndim:
        return output[:0]
    return [_without_rows(part) for part in output] if isinstance(output, list | tuple) else output


def shown_losses(
    output: Any, labels: Tensor, method: Method, *, num_classes: int, workers: Workers, size: int
) -> tuple[Tensor, Tensor]:
    """Return the loss and the numbers of :class:`BatchLosses` from what the model gives."""
    found = method.objective(output, labels, num_classes=num_classes, size=size, workers=workers)
    if set(found.terms) != set(method.terms):
        raise ConfigError(
            f"method {type(method).__name__}: objective() gives terms {sorted(found.terms)}, and terms declares"
            f" {sorted(method.terms)}; make them the same"
        )
    correct = (found.logits.argmax(1) == labels).sum() * (workers.world / size)
    terms = [found.terms[name] for name in method.terms]
    return found.loss, torch.stack([found.loss, found.cross_entropy, *terms, correct]).detach().double()
