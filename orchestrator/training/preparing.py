"""What a training shows its batches: what the method makes of the network, in the memory layout and with the batch norm
that the configuration asks for."""

import torch
from torch import fx, nn

from moda_core import unit_layers
from moda_core.methods import Method, Prepared
from moda_core.modes import evaluating
from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data import ImageSet


def prepare_training(
    network: nn.Module, images: ImageSet, config: TrainingConfig, method: Method, precision: torch.dtype
) -> Prepared:
    """What is shown the batches of a training, on the images' device: it shares every parameter and statistic with
    ``network``. The method's own parts are drawn from the training's seed.

    Raises:
        ConfigError: a method that does not keep to its protocol.
    """
    wanted = config.memory_format
    if wanted == "channels_last" or (wanted == "auto" and precision == torch.bfloat16):
        _set_memory_format(network, images)
    torch.manual_seed(config.seed)
    return _trained(network, images, method, sync_batch_norm=config.sync_batch_norm)


def prepare_method(network: nn.Module, images: ImageSet, method: Method) -> Prepared:
    """A network with the method's own parts, on the images' device, as the training of it was prepared.

    Raises:
        ConfigError: as :func:`prepare_training`.
    """
    example = images[torch.zeros(2, dtype=torch.long, device=images.labels.device)]
    prepared = method.prepare(network, example)
    if prepared.parts is not None:
        prepared.parts.to(example.device)
        inside = set(prepared.model.parameters())
        if absent := [name for name, parameter in prepared.parts.named_parameters() if parameter not in inside]:
            raise ConfigError(
                f"method {type(method).__name__}: {absent[0]} of its parts is not a parameter of the model that"
                " prepare() returns, so workers would not train it alike; make the parts submodules of the model"
            )
    return prepared


def _set_memory_format(network: nn.Module, images: ImageSet) -> None:
    """Channels last, which is faster in half precision, unless a ``view`` of the network needs contiguous images."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with evaluating(network):
            network(images.normalise(images.images[:2]))
    except RuntimeError:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _trained(network: nn.Module, images: ImageSet, method: Method, *, sync_batch_norm: bool) -> Prepared:
    """What the method makes of the network.

    SyncBatchNorm takes the place of batch norm in a traced copy only. It shares every parameter and statistic with the
    network, which stays what is saved, counted and cut.
    """
    prepared = prepare_method(network, images, method)
    if not sync_batch_norm:
        return prepared
    model = prepared.model
    if model is network:
        example = images[torch.zeros(2, dtype=torch.long, device=images.labels.device)]
        model = fx.GraphModule(network, unit_layers(network, example).graph)
    elif any(module is network for module in model.modules()):
        raise ConfigError(
            f"training.sync_batch_norm=true: method {type(method).__name__} shows batches to a module that holds the"
            " network itself, which must keep its batch norm; build it from a traced copy, or set"
            " training.sync_batch_norm=false"
        )
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return Prepared(converted, prepared.parts)
