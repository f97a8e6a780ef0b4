"""How an epoch is cut into global batches that workers share, with the random draws of each.

Every draw follows from (seed, epoch): a resumed training is the uninterrupted one, however many workers share it.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data import ImageSet, StoredImages
from orchestrator.training.parts import TRIES, random_parts, windows

MOST_SEEDS = 2**62
AT_ONCE = 512  # images that are cropped and flipped together


@dataclass(frozen=True)
class Workers:
    """The workers that share the batches: this worker's rank among ``world`` of them."""

    rank: int = 0
    world: int = 1

    @property
    def group(self) -> dist.ProcessGroup | None:
        """The process group of all workers, None for one."""
        return dist.group.WORLD if self.world > 1 else None

    def agreed(self, decision: bool, device: torch.device) -> bool:
        """Return the first worker's decision, on every worker."""
        if self.group is None:
            return decision
        shared = torch.tensor(int(decision), device=device)
        dist.broadcast(shared, 0, group=self.group)
        return bool(shared.item())


def samples_each(network: nn.Module, config: TrainingConfig) -> int:
    """How many samples of a batch every worker needs: two for statistics of its own, one to share in everybody's.

    A network without batch norm needs none: a worker that has none takes part in the step and adds nothing.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return 0
    return 1 if config.sync_batch_norm else 2


@dataclass(frozen=True)
class Batch:
    """A global batch: this worker's image indices, and the random draws of its augmentation.

    ``seeds_B`` are those of each image's transforms, on the CPU. ``stored`` are the images themselves where they were
    read ahead, uint8.
    """

    step: int
    size: int
    mine: Tensor
    offsets_B2: Tensor
    flips_B: Tensor
    shapes_BT2: Tensor
    seeds_B: Tensor
    stored: Tensor | None = None


class Steps:
    """How an epoch is cut into global batches, and the learning rate of each: cosine to 0 over all steps, or by epoch.

    Workers share every batch, so the batches are the same for any number of them; but a last batch too small to give
    every worker the samples it needs (:func:`samples_each`) is left out of that epoch.
    """

    def __init__(self, images: int, config: TrainingConfig, workers: Workers, *, each: int) -> None:
        self.images, self.config, self.workers = images, config, workers
        needed = max(1, each * workers.world)
        whole, rest = divmod(images, config.batch_size)
        last = rest if rest >= needed else 0
        self.per_epoch = whole + (last > 0)
        self.samples = images - rest + last  # images seen in an epoch
        if self.per_epoch == 0 or config.batch_size < needed:
            raise ConfigError(
                f"training.batch_size={config.batch_size}: {images} images in such batches for"
                f" training.num_workers={workers.world}: every worker needs"
                f" {('no samples', 'a sample', 'two samples for its batch norm')[each]} a batch;"
                f" set training.batch_size={max(needed, config.batch_size)} or more, and give as many images"
            )

    def learning_rate(self, step: int) -> float:
        """The rate of a step of the whole training; by epoch its cosine is that of the epoch's first step.

        Warm-up multiplies it by what rises evenly from step to step, to 1 at the last step of the warm-up.
        """
        warming_steps = self.config.warmup_epochs * self.per_epoch
        warming = (step + 1) / warming_steps if step + 1 < warming_steps else 1.0
        if self.config.schedule == "epoch":
            step -= step % self.per_epoch
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.total))
        return self.config.learning_rate * warming * cosine

    @property
    def total(self) -> int:
        """The steps of the whole training."""
        return self.per_epoch * self.config.epochs

    def progress(self, step: int) -> float:
        """The share of the whole training's steps that are done with a step."""
        return (step + 1) / self.total

    @property
    def weight_decay(self) -> float:
        """That of the configuration, or less, in proportion, in a training of more than ``training.decay_steps``."""
        steps = self.config.decay_steps
        return self.config.weight_decay * (1.0 if steps is None else min(1.0, steps / max(1, self.total)))

    def epoch(self, epoch: int, device: torch.device | None = None) -> Iterator[Batch]:
        """The batches of an epoch. All draws are brought to the device at once, so that no step waits for its own."""
        generator = torch.Generator().manual_seed(epoch_seed(self.config.seed, epoch))
        shapes = torch.Generator().manual_seed(shapes_seed(self.config.seed, epoch))
        transforms = torch.Generator().manual_seed(transforms_seed(self.config.seed, epoch))
        order = torch.randperm(self.images, generator=generator)[: self.samples]
        seeds = torch.randint(MOST_SEEDS, (len(order),), generator=transforms).split(self.config.batch_size)
        draws: list[tuple[Tensor, ...]] = []
        for index_B in order.split(self.config.batch_size):
            offsets_B2 = torch.rand(len(index_B), 2, generator=generator)
            flips_B = torch.rand(len(index_B), generator=generator) < 0.5
            shapes_BT2 = torch.rand(len(index_B), TRIES, 2, generator=shapes)
            draws.append((index_B, offsets_B2, flips_B, shapes_BT2))
        kinds = (torch.cat(kind).to(device).split(self.config.batch_size) for kind in zip(*draws, strict=True))
        for number, batch in enumerate(zip(*kinds, seeds, strict=True)):
            mine = (part.tensor_split(self.workers.world)[self.workers.rank] for part in batch)
            yield Batch(epoch * self.per_epoch + number, len(batch[0]), *mine)


def read_ahead(images: ImageSet, steps: Steps, epoch: int) -> Iterator[Batch]:
    """The batches of an epoch; images that are not in memory are read in threads while a batch is computed."""
    if not isinstance(images.images, StoredImages):
        yield from steps.epoch(epoch, images.labels.device)
        return
    ahead, batches = itertools.tee(steps.epoch(epoch))
    for batch, stored in zip(batches, images.images.ahead(batch.mine for batch in ahead), strict=True):
        yield replace(batch, stored=stored)


def augmented_part(images: ImageSet, batch: Batch, crop: int, flip: bool) -> Tensor:
    """This worker's images of a batch as training sees them, (B, ch, H, W) uint8: what :func:`seen_part` gives, as
    :func:`augmented` changes it.
    """
    stored = images.images[batch.mine.to(images.labels.device)]
    return augmented(seen_part(images, stored, batch), batch, crop, flip)


def seen_part(images: ImageSet, stored: Tensor, batch: Batch) -> Tensor:
    """What training sees of stored images before it crops and flips them, (B, ch, H, W) uint8: a random part where they
    have parts, transformed where the images have an augmentation.
    """
    parts = random_parts(images, stored, batch.offsets_B2, batch.shapes_BT2)
    return parts if images.augmentation is None else images.augmentation(parts, batch.seeds_B)


def augmented(pixels: Tensor, batch: Batch, crop: int, flip: bool) -> Tensor:
    """Random crop out of a zero padding of ``crop``, random horizontal flip; (B, ch, H, W) uint8."""
    device = pixels.device
    if flip:
        pixels = torch.where(batch.flips_B.to(device)[:, None, None, None], pixels.flip(3), pixels)
    if crop > 0:
        height, width = pixels.shape[2:]
        tops_B, lefts_B = (batch.offsets_B2.to(device) * (2 * crop + 1)).long().clamp(max=2 * crop).T
        pixels = windows(F.pad(pixels, (crop, crop, crop, crop)), tops_B, lefts_B, height, width)
    return pixels


def augmented_once(images: ImageSet, *, crop: int, flip: bool, seed: int) -> ImageSet:
    """The same images, each augmented once as in training. What is drawn follows from the seed alone.

    Of images that are not in memory this is done whenever they are read.
    """
    generator = torch.Generator().manual_seed(seed)
    offsets_I2 = torch.rand(len(images), 2, generator=generator)
    flips_I = torch.rand(len(images), generator=generator) < 0.5
    shapes_IT2 = torch.rand(len(images), TRIES, 2, generator=generator)
    seeds_I = torch.randint(MOST_SEEDS, (len(images),), generator=generator)

    def augment(index_B: Tensor) -> Tensor:
        drawn = (draws[index_B] for draws in (offsets_I2, flips_I, shapes_IT2, seeds_I))
        batch = Batch(0, len(index_B), index_B, *drawn)
        return augmented_part(images, batch, crop, flip)

    if isinstance(images.images, StoredImages):
        device, images = images.labels.device, images.to(torch.device("cpu"))
        stored = AugmentedImages(np.arange(len(images)), images.shape, augment=augment)
        return replace(images, images=stored).to(device)
    return replace(images, images=torch.cat([augment(index_B) for index_B in torch.arange(len(images)).split(AT_ONCE)]))


@dataclass(frozen=True, eq=False)
class AugmentedImages(StoredImages):
    """Stored images that are cropped and flipped when they are read.

    Attributes:
        augment: gives the images of an index as they are seen, (B, ch, H, W) uint8 on the CPU.
    """

    augment: Callable[[Tensor], Tensor] = field(kw_only=True)

    def gather(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Images by their rows."""
        return self.augment(torch.from_numpy(rows))


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch's draws."""
    return (seed * 1_000_003 + epoch) % 2**62


def shapes_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch's draws of the shapes of parts, which leave the others as they are."""
    return 2**62 + epoch_seed(seed, epoch)


def transforms_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch's seeds of transforms, which leave the other draws as they are."""
    return 2**63 + epoch_seed(seed, epoch)
