"""Trains GradSplitter's scores and heads on a frozen network.

Shapes: B samples of the global batch, of which a worker has its slice.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from moda_core.methods.frozen import frozen, share_gradient, with_masked_rows
from moda_core.methods.gradsplitter import GradSplitter, SplitEpoch
from moda_core.methods.method import Images, StepCheckpoint, Workers
from moda_core.methods.split_modules import SplitModules


def train_modules(
    method: GradSplitter,
    network: nn.Module,
    parts: SplitModules,
    images: Images,
    workers: Workers,
    checkpoint: StepCheckpoint,
) -> None:
    """Train by the method's schedule, saving after each epoch; the network, in eval mode, does not change."""
    seed = int(torch.randint(2**31, ()))  # the same in every attempt and on every worker
    masked = with_masked_rows(network, images)
    state, done = checkpoint.state, 0
    if state is not None:
        parts.load_state_dict(state["parts"])
        done = state["done"]
    numbered = list(enumerate(method.schedule()))[done:]
    with frozen(network):
        for _, phase in itertools.groupby(numbered, key=lambda entry: entry[1].phase):
            epochs = list(phase)
            optimizer = _optimizer(method, parts, epochs[0][1])
            if state is not None and state["phase"] == epochs[0][1].phase:
                optimizer.load_state_dict(state["optimizer"])
            for number, epoch in epochs:
                _train_epoch(method, masked, parts, images, workers, optimizer, epoch, seed + number)
                checkpoint.save(
                    {
                        "done": number + 1,
                        "phase": epoch.phase,
                        "parts": parts.state_dict(),
                        "optimizer": optimizer.state_dict(),
                    }
                )


def _train_epoch(
    method: GradSplitter,
    masked: nn.Module,
    parts: SplitModules,
    images: Images,
    workers: Workers,
    optimizer: torch.optim.Optimizer,
    epoch: SplitEpoch,
    seed: int,
) -> None:
    weight = method.weight if epoch.trains_masks else 0.0
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    for index_B in order.split(method.batch_size):
        optimizer.zero_grad()
        loss = weight * parts.mean_mask() / workers.world
        mine = index_B.tensor_split(workers.world)[workers.rank].to(images.labels.device)
        if len(mine) > 0:
            shown_BC = parts.sigmoids(masked, images[mine])
            loss = loss + F.cross_entropy(shown_BC, images.labels[mine], reduction="sum") / len(index_B)
        loss.backward()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                share_gradient(parameter, workers)
        for scores_CN in parts.scores if epoch.trains_masks else ():
            if scores_CN.grad is not None:
                scores_CN.grad.clamp_(-1, 1)
        optimizer.step()


def _optimizer(method: GradSplitter, parts: SplitModules, epoch: SplitEpoch) -> torch.optim.Optimizer:
    groups = [{"params": list(parts.heads.parameters()), "lr": epoch.head_rate}]
    if epoch.trains_masks:
        groups.append({"params": [scores for scores in parts.scores if scores.requires_grad], "lr": method.mask_rate})
    return torch.optim.Adam(groups)
