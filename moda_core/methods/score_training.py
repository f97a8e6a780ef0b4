"""Trains scores of units for each class on a frozen network.

Shapes: B samples of the global batch, of which a worker has its slice; C classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core.methods.class_scores import ClassScores
from moda_core.methods.frozen import frozen, share_gradient, with_masked_rows
from moda_core.methods.method import Images, StepCheckpoint, Workers
from moda_core.methods.nuwa import Nuwa


def train_scores(
    method: Nuwa,
    network: nn.Module,
    parts: ClassScores,
    images: Images,
    workers: Workers,
    checkpoint: StepCheckpoint,
) -> None:
    """Train by the method's schedule, saving after each epoch; the network, in eval mode, does not change."""
    seed = int(torch.randint(2**31, ()))  # the same in every attempt and on every worker
    masked = with_masked_rows(network, images)
    optimizer = torch.optim.Adam(parts.parameters(), lr=method.score_rate)
    state, done = checkpoint.state, 0
    if state is not None:
        parts.load_state_dict(state["parts"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["done"]
    parts.requires_grad_(True)
    with frozen(network):
        for epoch in range(done, method.score_epochs):
            _train_epoch(method, masked, parts, images, workers, optimizer, epoch, seed + epoch)
            state = {"done": epoch + 1, "parts": parts.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoint.save(state)
    parts.requires_grad_(False)


def _train_epoch(
    method: Nuwa,
    masked: nn.Module,
    parts: ClassScores,
    images: Images,
    workers: Workers,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    seed: int,
) -> None:
    generator, device = torch.Generator().manual_seed(seed), images.labels.device
    order = torch.randperm(len(images), generator=generator)
    batches = order.split(method.batch_size)
    for step, index_B in enumerate(batches):
        trained = (epoch + step / len(batches)) / method.score_epochs
        labels_B = images.labels[index_B.to(device)].cpu()
        members_BC = draw_members(labels_B, parts.scores[0].shape[0], generator)
        mine = torch.arange(len(index_B)).tensor_split(workers.world)[workers.rank]
        optimizer.zero_grad()
        if len(mine) > 0:
            own_BC = members_BC[mine].to(device)
            factors = parts.factors(share_at(method.share, trained), own_BC)
            logits_BC = masked(images[index_B[mine].to(device)], *factors).float()
            target_B = labels_B[mine].to(device)
            restricted_BC = logits_BC.masked_fill(~own_BC, -torch.inf)
            (F.cross_entropy(restricted_BC, target_B, reduction="sum") / len(index_B)).backward()
        for scores_CN in parts.parameters():
            share_gradient(scores_CN, workers)
        optimizer.step()


def share_at(last: float, trained: float) -> float:
    """Return the share of parameters that is kept when a part of the training is done: it falls from 1 by equal
    factors, and is the last one from half of the training on.
    """
    return float(last ** min(1.0, 2 * trained))


def draw_members(labels_B: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Draw a class subset for each image, its own class among them: booleans (B, C). Sizes from 2 to all are alike."""
    draws_BC = torch.rand(len(labels_B), classes, generator=generator)
    draws_BC[torch.arange(len(labels_B)), labels_B] = -1.0
    sizes_B = torch.randint(min(2, classes), classes + 1, (len(labels_B),), generator=generator)
    return draws_BC.argsort(1).argsort(1) < sizes_B[:, None]
