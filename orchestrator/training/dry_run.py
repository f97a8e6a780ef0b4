"""A trial in small, before any training: what would fail after hours fails here, in one line.

A few images are shown to the network as training, counting, measuring and publishing will show it all of them; its
weights and a checkpoint are written and read. Nothing of it is kept.
"""

import dataclasses
import functools
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from moda_core import draw_pairs, estimate_reuse, load_modules, save_modules, unit_layers
from moda_core.cutting import LARGEST_DIFFERENCE, relative_difference
from moda_core.errors import ModuleSetError, NetworkError
from moda_core.graph import channel_graph
from moda_core.measuring import sizes_and_overlaps
from moda_core.methods import Method, has_step_after
from moda_core.modes import evaluating
from orchestrator.config import Config
from orchestrator.errors import ConfigError
from orchestrator.storage import Files
from orchestrator.training.after import take_step_after
from orchestrator.training.batch_losses import BatchLosses, computing
from orchestrator.training.batches import Steps, Workers, samples_each
from orchestrator.training.data import Data, ImageSet
from orchestrator.training.loop import choose_precision
from orchestrator.training.methods import make_method
from orchestrator.training.own_metrics import Measured, make_metrics, measure_own
from orchestrator.training.preparing import prepare_method, prepare_training
from orchestrator.training.rules import try_rules
from orchestrator.training.weights import dump_weights, read_weights

Make = Callable[[], nn.Module]
IMAGES = 3  # in batches of two, so that a last one is odd
STEP = 1e-5  # by which each weight changes: gradients of two images may be enormous where batch norm sees one pixel
SHARE = 0.2  # of units in a mask
SEED = 0
MOST_TEXT = 200  # characters of an error in the network's own code


def dry_run(network: nn.Module, make: Make, config: Config, data: Data) -> None:
    """Do with a network, on a few images, what a trial does.

    Args:
        network: as the training will find it; it is trained a little.
        make: builds the same network again, from the same seed and without ``training.init_from``.
        config: of the trial.
        data: on the CPU.

    Raises:
        ConfigError: what would fail in a trial, or after it.
    """
    name, few = f"model.name={config.model.name}", _few(data)
    images_B = few[torch.arange(len(few))]
    _check_logits(network, images_B, data.num_classes, name)
    method = make_method(config.method)
    parts = _train(network, few, config, data.num_classes, name, method)
    again = make()
    made = None if parts is None else _check_parts(parts, again, few, config, method)
    with _trying(f"{name}: its weights, saved and loaded again"):
        read_weights(dump_weights(network), again)
    _check_same(network, again, images_B, name)
    try:
        _measure_and_publish(again.eval(), made, few, config, data, method)
    except (NetworkError, ModuleSetError) as error:
        raise ConfigError(f"{name}: its modules cannot be cut: {error}") from error


def distinct(configs: Iterable[Config]) -> list[Config]:
    """Return one configuration of each kind that a dry run can tell apart: rates make no difference to it, and
    coefficients only if they are 0, which may turn something off.
    """
    found: dict[str, Config] = {}
    for config in configs:
        training = dataclasses.replace(
            config.training,
            epochs=min(config.training.epochs, 1),
            learning_rate=1.0,
            momentum=0.0,
            optimizer="sgd",
            warmup_epochs=0.0,
            weight_decay=0.0,
        )
        off = {name: value == 0 for name, value in config.method.coefficients.items()}
        found.setdefault(repr((config.model, training, config.method.name, off)), config)
    return list(found.values())


@contextmanager
def same_generators() -> Iterator[None]:
    """Whatever draws at random inside, global generators are afterwards as they were before."""
    python, numpy = random.getstate(), np.random.get_state()
    # Asking a GPU for its state would open it in this process, for good.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="moda-dry-run-") as folder:
        yield Path(folder)


def _few(data: Data) -> ImageSet:
    """The first images of as many different classes as possible, always the same ones."""
    labels = data.train.labels
    _, place = np.unique(labels.numpy(), return_index=True)
    index = torch.from_numpy(place[:IMAGES])
    rest = torch.arange(len(labels))[~torch.isin(torch.arange(len(labels)), index)]
    index = torch.cat([index, rest[: IMAGES - len(index)]])
    return dataclasses.replace(data.train, images=data.train.images[index], labels=labels[index])


@contextmanager
def _trying(what: str) -> Iterator[None]:
    """Whatever a network's own code raises, as one line. Memory that runs out here may be there where trials run."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from error
    except Exception as error:
        text = " ".join(str(error).split())[:MOST_TEXT]
        raise ConfigError(f"{what}: {type(error).__name__}: {text}") from error


def _check_logits(network: nn.Module, images_B: Tensor, num_classes: int, name: str) -> None:
    """Refuse logits that depend on anything but the image, and images that are changed."""
    whole_BC = _logits(network, images_B, num_classes, name)
    if not whole_BC.isfinite().all():
        raise ConfigError(
            f"{name}: its logits for images of this data are NaN or infinite; check its weights and layers"
        )
    if not _agree(whole_BC, _logits(network, images_B, num_classes, name)):
        raise ConfigError(
            f"{name}: the same images give different logits when called again; in eval mode a network must not draw at"
            " random (dropout without training=self.training) or keep state between calls"
        )
    for count in (1, 2):
        part_BC = _logits(network, images_B[:count], num_classes, name)
        if not _agree(whole_BC[:count], part_BC):
            raise ConfigError(
                f"{name}: the logits of an image depend on the others in its batch; in eval mode they must not (batch"
                " norm without running statistics, a mean over dimension 0)"
            )


def _logits(network: nn.Module, images_B: Tensor, num_classes: int, name: str) -> Tensor:
    shown_B, count = images_B.clone(), len(images_B)
    with evaluating(network), _trying(f"{name}: a batch of {count} in eval mode"):
        logits_BC: Tensor = network(shown_B)
    if tuple(logits_BC.shape) != (count, num_classes):
        raise ConfigError(
            f"{name}: a batch of {count} has logits of {tuple(logits_BC.shape)}, expected ({count}, {num_classes});"
            " flatten(1) keeps the batch dimension, which squeeze() or view(-1) lose"
        )
    if not torch.equal(shown_B, images_B):
        raise ConfigError(
            f"{name}: its forward changes the images that it is given; make its first layer inplace=False"
        )
    return logits_BC


def _train(
    network: nn.Module, few: ImageSet, config: Config, num_classes: int, name: str, method: Method
) -> nn.Module | None:
    """A step for each batch, by the method's own losses, and its step after training; returns the method's parts. By
    hand, because torch's optimisers take seconds to import."""
    training = dataclasses.replace(config.training, batch_size=2, num_workers=1, sync_batch_norm=False)
    precision = _precision(config, few)
    with _trying(f"{name}: training steps of the first batches of 2"):
        model, parts = prepare_training(network, few, training, method, precision)
        model.train()
        steps = Steps(len(few), training, Workers(), each=samples_each(network, training))
        losses = BatchLosses(model, few, method, num_classes, config.data.crop, config.data.flip, precision)
        for batch in steps.epoch(0) if training.epochs else ():
            loss, _ = losses(batch)
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(parameter.grad.nan_to_num().sign(), alpha=STEP)
    unused = [key for key, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
    if unused and training.epochs and config.training.num_workers > 1:
        raise ConfigError(
            f"training.num_workers={config.training.num_workers}: {unused[0]} of {name} does not contribute to the"
            " loss, but workers wait for its gradient; remove or freeze it (requires_grad_(False)), or use one worker"
        )
    if has_step_after(method):
        with _trying(f"method.name={config.method.name}: its step after training"), _scratch() as scratch:
            files, seed = Files(str(scratch)), config.training.seed
            take_step_after(method, network, parts, few, num_classes, Workers(), files, "after.pt", seed=seed)
    network.zero_grad()
    if wrong := [key for key, tensor in network.named_buffers() if not tensor.isfinite().all()]:
        raise ConfigError(f"{name}: a training step makes {wrong[0]} NaN or infinite on images of this data")
    return parts


def _check_parts(parts: nn.Module, again: nn.Module, few: ImageSet, config: Config, method: Method) -> nn.Module:
    """The parts of a method, made again and given what was written of them. Refuses parts that are not the same."""
    where = f"method.name={config.method.name}: its parts, saved and loaded again"
    with _trying(where):
        made = prepare_method(again, few, method).parts
        if made is None:
            raise ConfigError("prepare() returns none the second time")
        read_weights(dump_weights(parts), made)
    state = made.state_dict()
    if wrong := [key for key, tensor in parts.state_dict().items() if not torch.equal(tensor, state[key])]:
        raise ConfigError(f"{where}: {wrong[0]} has changed; give it its own memory")
    return made


def _precision(config: Config, few: ImageSet) -> torch.dtype:
    return choose_precision(config.training.precision, few.labels.device)


def _check_same(network: nn.Module, again: nn.Module, images_B: Tensor, name: str) -> None:
    """Refuse a network that is more than what its builder and its state say."""
    state = again.state_dict()
    if wrong := [key for key, tensor in network.state_dict().items() if not torch.equal(tensor, state[key])]:
        raise ConfigError(
            f"{name}: its weights, saved and loaded again: {wrong[0]} has changed; give it its own memory"
        )
    with evaluating(network), evaluating(again):
        expected_BC, found_BC = network(images_B.clone()), again(images_B.clone())
    if not _agree(expected_BC, found_BC):
        raise ConfigError(
            f"{name}: rebuilt and loaded with its weights it gives different logits; whatever training changes, or its"
            " constructor draws by other generators than torch's, must be a parameter or a buffer of its state_dict"
        )


def _agree(expected_BC: Tensor, found_BC: Tensor) -> bool:
    return relative_difference(expected_BC, found_BC) <= LARGEST_DIFFERENCE


def _measure_and_publish(
    network: nn.Module, parts: nn.Module | None, few: ImageSet, config: Config, data: Data, method: Method
) -> None:
    """Count, measure, cut to random masks, prove, write and open, as if the few images were of different classes."""
    images_B, classes = few[torch.arange(len(few))], min(len(few), data.num_classes)
    batches = [(images_B, torch.arange(len(few)) % classes)]
    layers = unit_layers(network, images_B)
    graph, _ = channel_graph(network, layers, images_B)
    masks = _random_masks(layers.widths, data.num_classes)
    draw = draw_pairs(batches[0][1], [range(classes)], num_classes=data.num_classes)
    with computing(images_B.device, _precision(config, few)):
        for wanted in (None, masks):
            estimate_reuse(network, layers, wanted, images_B, draw)
        gated = method.gates(network, None if parts is None else parts.eval(), images_B)
        scores = functools.partial(method.unit_scores, parts)
        try_rules(network, batches, config.evaluation, num_classes=classes, scores=scores, gated=gated)
        measure_own(make_metrics(list(config.evaluation.metrics)), Measured(network, layers, masks, few))
    sizes_and_overlaps(graph, masks)
    with _scratch() as scratch:
        folder = scratch / "set"
        save_modules(
            folder,
            network,
            layers,
            masks,
            images_B,
            class_names=data.class_names,
            preprocessing=data.preprocessing(),
            subsets=[range(data.num_classes), range(2)],
        )
        load_modules(folder, data.class_names[:2])(images_B)


def _random_masks(widths: list[int], num_classes: int) -> list[Tensor]:
    """A few of the units for each class, at least one: L boolean tensors of (C, N_l)."""
    generator = torch.Generator().manual_seed(SEED)
    drawn = [torch.rand(num_classes, width, generator=generator) for width in widths]
    return [(draw_CN < SHARE) | (draw_CN == draw_CN.amin(1, keepdim=True)) for draw_CN in drawn]
