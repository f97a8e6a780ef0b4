"""One class of a weak network taken from another network's module, with the control beside it (docs/method.md).

Both networks stay as they are. The module's logit takes the place of the weak network's logit of the class, and one
linear layer on top is trained. Part of what that gains may come from the added layer alone, so the control is always
made beside it: the same layer on the weak network's own logits, from the same initial weights and order of images.

Shapes: B images of a batch, I images, N classes.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core.errors import NetworkError
from moda_core.modes import evaluating
from moda_core.sets.module_file import Modules

INITIAL_DEVIATION = 0.01  # of the head's weights
MOMENTUM = 0.9

Batches = Iterable[tuple[Tensor, Tensor]]


class RawImages(nn.Module):
    """A loaded module on uint8 images (B, ch, H, W), because two module sets may normalise images differently."""

    def __init__(self, modules: Modules) -> None:
        super().__init__()
        self.modules_on_floats = modules

    def forward(self, images: Tensor) -> Tensor:
        return self.modules_on_floats.logits_of(images)


class ReplacedClass(nn.Module):
    """A frozen network with one logit exchanged and a linear layer on top: it takes images and returns N logits.

    Attributes:
        weak: gives N logits; shared, always run in eval mode and without gradients.
        module: gives the one logit of the class, likewise; None for the control, which keeps the weak network's own.
        head: Linear(N, N), all there is to train.
        class_id: the class.
    """

    def __init__(self, weak: nn.Module, module: nn.Module | None, head: nn.Linear, class_id: int) -> None:
        super().__init__()
        self.weak, self.module, self.head, self.class_id = weak, module, head, class_id

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, N), in the weak network's class order."""
        logits: Tensor = self.head(self.features(images)[1])
        return logits

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weak network's logits, and what the head reads: the same with one exchanged. Both are (B, N)."""
        weak_BN = _frozen(self.weak, images, self.head.in_features, "weak")
        if self.module is None:
            return weak_BN, weak_BN
        module_B1 = _frozen(self.module, images, 1, "module").to(weak_BN.dtype)
        return weak_BN, torch.cat([weak_BN[:, : self.class_id], module_B1, weak_BN[:, self.class_id + 1 :]], 1)


@dataclass(frozen=True)
class Replacement:
    """The network with the class replaced, and the control: the same head on the weak network's own logits."""

    network: ReplacedClass
    control: ReplacedClass


@dataclass(frozen=True)
class ClassAccuracy:
    """The accuracy of the replaced class, and the mean accuracy of the other classes."""

    target: float
    others: float


@dataclass(frozen=True)
class ReplacementAccuracy:
    """The accuracies before and after a class was replaced, and those of the control.

    Attributes:
        target_images: images of the replaced class.
        other_images: images of the other classes.
        before: of the weak network.
        replaced: with the class replaced.
        control: with the head alone.
        gain_error: standard errors of ``replaced`` less ``control`` over draws of images, which both are tested on.
    """

    target_images: int
    other_images: int
    before: ClassAccuracy
    replaced: ClassAccuracy
    control: ClassAccuracy
    gain_error: ClassAccuracy


def replace_class(
    weak: nn.Module,
    module: nn.Module,
    batches: Batches,
    *,
    class_id: int,
    num_classes: int,
    epochs: int = 5,
    lr: float = 0.05,
    batch_size: int = 128,
    seed: int = 0,
) -> Replacement:
    """Replace a class of ``weak`` by ``module`` (docs/method.md, "Replacement"), and train the control beside it.

    The head is Linear(N, N), weights normal with deviation 0.01, bias 0; cross-entropy, SGD with Nesterov momentum
    0.9, cosine to 0. Both networks are frozen and images are not augmented, so each image passes through them once
    and the heads train on what they gave.

    Args:
        weak: images to N logits, indexed by class id. Neither it nor ``module`` is changed.
        module: images to the one logit of the class, on the same device.
        batches: (images, labels) of the weak network's training data, on the networks' device; read once.
        class_id: the class to replace.
        num_classes: N.
        epochs: of the head; 0 leaves it as it starts.
        lr: the learning rate of the first step.
        batch_size: images a step.
        seed: of the head's weights and the order of the images.

    Raises:
        NetworkError: networks that give other numbers of logits, or logits that are not finite.
        ValueError: a class out of range, labels out of range, no image of the class, or a head whose weights are not
            finite at the end.
    """
    if num_classes < 2 or not 0 <= class_id < num_classes:
        raise ValueError(f"class_id={class_id}, num_classes={num_classes}: must be one of two classes or more, from 0")
    if epochs < 0 or batch_size < 1 or not 0 < lr < math.inf:
        raise ValueError(
            f"epochs={epochs}, batch_size={batch_size}, lr={lr}: must be at least 0, at least 1, and a number above 0"
        )
    made = Replacement(*(ReplacedClass(weak, added, _head(num_classes, seed), class_id) for added in (module, None)))
    weak_parts, replaced_parts, label_parts = [], [], []
    for images, labels in batches:
        weak_BN, replaced_BN = made.network.features(images)
        weak_parts.append(weak_BN)
        replaced_parts.append(replaced_BN)
        label_parts.append(labels.to(weak_BN.device))
    labels_I = _checked_labels(label_parts, class_id, num_classes)
    for network, parts in ((made.network, replaced_parts), (made.control, weak_parts)):
        network.head.to(parts[0])
        _train_head(network.head, torch.cat(parts), labels_I, epochs=epochs, lr=lr, batch_size=batch_size, seed=seed)
    return made


def replacement_accuracy(replacement: Replacement, batches: Batches) -> ReplacementAccuracy:
    """Measure the accuracy of the weak network, of the one with the class replaced, and of the control.

    Args:
        replacement: from :func:`replace_class`.
        batches: (images, labels) that neither network was trained on, on the networks' device; read once.

    Raises:
        ValueError: labels out of range, no image of the class, or of no other one. Other classes without images do
            not count.
    """
    network, control = replacement.network, replacement.control
    class_id, num_classes = network.class_id, network.head.in_features
    hits, label_parts = [], []
    for images, labels in batches:
        with torch.no_grad():
            weak_BN, replaced_BN = network.features(images)
            logits = (weak_BN, network.head(replaced_BN), control.head(weak_BN))
        labels = labels.to(weak_BN.device)
        hits.append(torch.stack([logit.argmax(1) == labels for logit in logits]))
        label_parts.append(labels)
    labels_I = _checked_labels(label_parts, class_id, num_classes)
    size_N = torch.bincount(labels_I, minlength=num_classes).double()
    hits_3I = torch.cat(hits, 1).double()
    rate_3N = (hits_3I @ F.one_hot(labels_I, num_classes).double() / size_N).cpu()
    others_N = (size_N > 0).cpu()
    others_N[class_id] = False
    if not others_N.any():
        raise ValueError(f"there are images of class {class_id} alone; measuring needs some of the others")
    rates = [ClassAccuracy(float(rate_N[class_id]), float(rate_N[others_N].mean())) for rate_N in rate_3N]
    target = int(size_N[class_id])
    gain_I = hits_3I[1] - hits_3I[2]
    error = _errors(gain_I, labels_I, class_id, others_N)
    weak, with_module, head_alone = rates
    return ReplacementAccuracy(target, len(labels_I) - target, weak, with_module, head_alone, error)


def _errors(values_I: Tensor, labels_I: Tensor, class_id: int, others_N: Tensor) -> ClassAccuracy:
    """The standard error of the mean over a class's images, and that of the mean over the other classes' means."""
    variance_N = torch.zeros(len(others_N), dtype=torch.float64)
    for index in labels_I.unique().tolist():
        own = values_I[labels_I == index]
        variance_N[index] = own.var(correction=0) / max(1, len(own) - 1)
    others = float(variance_N[others_N].sum().sqrt() / others_N.sum())
    return ClassAccuracy(float(variance_N[class_id].sqrt()), others)


def _frozen(network: nn.Module, images: Tensor, logits: int, name: str) -> Tensor:
    with evaluating(network):
        found: Tensor = network(images)
    if tuple(found.shape) != (len(images), logits):
        raise NetworkError(f"{name} gives logits of shape {tuple(found.shape)}; expected ({len(images)}, {logits})")
    if not bool(found.isfinite().all()):
        raise NetworkError(f"{name} gives logits that are not finite numbers; take another network")
    return found


def _checked_labels(parts: list[Tensor], class_id: int, num_classes: int) -> Tensor:
    if not sum(len(labels) for labels in parts):
        raise ValueError("there are no images; give batches of (images, labels)")
    labels_I = torch.cat(parts)
    low, high = labels_I.min().item(), labels_I.max().item()
    if labels_I.is_floating_point() or low < 0 or high >= num_classes:
        raise ValueError(f"labels are {labels_I.dtype}, {low} to {high}; expected class ids 0 to {num_classes - 1}")
    if not (labels_I == class_id).any():
        raise ValueError(f"no image is of class {class_id}, the one to replace")
    return labels_I.long()


def _head(num_classes: int, seed: int) -> nn.Linear:
    head: nn.Linear = nn.utils.skip_init(nn.Linear, num_classes, num_classes)  # leaves the global generator alone
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(head.weight, std=INITIAL_DEVIATION, generator=generator)
    nn.init.zeros_(head.bias)
    return head


def _train_head(
    head: nn.Linear, features_IN: Tensor, labels_I: Tensor, *, epochs: int, lr: float, batch_size: int, seed: int
) -> None:
    """Train in place; the order of the images follows from the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(head.parameters(), lr=lr, momentum=MOMENTUM, nesterov=True)
    steps = epochs * math.ceil(len(labels_I) / batch_size)
    step = 0
    for _ in range(epochs):
        order_I = torch.randperm(len(labels_I), generator=generator).to(labels_I.device)
        for index_B in order_I.split(batch_size):
            optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(head(features_IN[index_B]), labels_I[index_B]).backward()
            optimizer.step()
            step += 1
    if not all(bool(parameter.isfinite().all()) for parameter in head.parameters()):
        raise ValueError(f"the head's weights are not finite: lr={lr} is too high")
