"""The optimizers that a training may have."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from orchestrator.config import TrainingConfig


def make_optimizer(
    parameters: Sequence[nn.Parameter], config: TrainingConfig, *, weight_decay: float
) -> torch.optim.Optimizer:
    """Make the optimizer that the configuration names, on the device of the parameters.

    ``training.optimizer_step=auto`` takes PyTorch's fused kernel on a GPU, where a step is one launch for many tensors.
    On a CPU it takes PyTorch's own choice, which may round otherwise than the fused kernel does.
    """
    on_gpu = any(parameter.device.type == "cuda" for parameter in parameters)
    is_fused = config.optimizer_step == "fused" or (config.optimizer_step == "auto" and on_gpu)
    options = {"weight_decay": weight_decay, "fused": True if is_fused else None}
    return OPTIMIZERS[config.optimizer](parameters, config, **options)


def _sgd(parameters: Sequence[nn.Parameter], config: TrainingConfig, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        **options,
    )


def _adamw(parameters: Sequence[nn.Parameter], config: TrainingConfig, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=config.learning_rate, **options)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": _adamw, "sgd": _sgd}
