"""The accuracy of pretrained weights on this data, before any training."""

import torch

from orchestrator.config import STATISTICS, Config
from orchestrator.declarations import METRICS
from orchestrator.training.data import Data, ImageSet
from orchestrator.training.decompose import accuracy
from orchestrator.training.loop import choose_device
from orchestrator.training.trial import make_network
from orchestrator.training.weights import load_weights_file

MOST_IMAGES = 2000  # that are shown to the network: the accuracy is right to about 0.01


def loaded_lines(config: Config, data: Data) -> list[str]:
    """Describe the accuracy of a network with the weights of ``training.init_from``, and how its images are normalised
    if that follows from this data set alone. Returns nothing without such weights.
    """
    path = config.training.init_from
    if path is None:
        return []
    network = make_network(config, data, pretrained=False)
    taken = load_weights_file(path, network, key="training.init_from", may_resize=config.training.epochs > 0)
    split, judged = data.judged
    device, images = choose_device(config.training), _first(judged)
    share = accuracy(network.to(device), images.to(device))
    of = "" if len(images) == len(judged) else f" of {len(images)} images"
    lines = [
        f"{path}{f' ({taken})' if taken else ''}: {split} accuracy {METRICS['accuracy'].text(share)}{of} as loaded"
    ]
    if config.data.mean is None and config.data.normalisation == STATISTICS:
        mean, std = (_numbers(values) for values in (images.mean, images.std))
        lines.append(
            f"warning: images are normalised with this data set's own mean={mean} std={std}; if the weights"
            " were trained with others, set data.mean=[...] data.std=[...] ([0] and [1] for ToTensor() alone)"
        )
    return lines


def _first(images: ImageSet) -> ImageSet:
    return images.part(torch.arange(min(MOST_IMAGES, len(images))))


def _numbers(values: tuple[float, ...]) -> str:
    return f"[{','.join(f'{value:.4f}' for value in values)}]"
