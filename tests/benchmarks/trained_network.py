"""The network that a trial trains, without a trial: no tables, files or tracking."""

from typing import Any

from torch import nn

from orchestrator.config import Config
from orchestrator.training.data import Data
from orchestrator.training.loop import choose_precision, train
from orchestrator.training.methods import make_method
from orchestrator.training.preparing import prepare_training
from orchestrator.training.trial import make_network


def trained_network(config: Config, data: Data) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Train from the training seed.

    Args:
        config: of the training.
        data: on the device that the network is trained on.

    Returns:
        The network, and a row for each epoch.
    """
    device = data.train.labels.device
    network, method = make_network(config, data).to(device), make_method(config.method)
    precision = choose_precision(config.training.precision, device)
    epochs = train(
        network,
        data.train,
        config.training,
        method,
        num_classes=data.num_classes,
        prepared=prepare_training(network, data.train, config.training, method, precision),
        crop=config.data.crop,
        flip=config.data.flip,
        precision=precision,
    )
    *_, last = epochs
    return network, last.rows
