"""Is a module really smaller and faster? The full model, masked modules and cut modules of one class and of two.

Prints a Markdown table for each network and device: parameters, bytes on disk (the state_dict as safetensors), the
median latency of one image and of 128, and their ratios to the full model's; float32, interleaved rounds in one
process. A masked module has the full model's weights and computes what it computes, and its masks on top. Cut and
masked logits are compared first.

VGG16, ResNet18 and MobileNet-v1 for 10 classes of 3 x 32 x 32 are untrained: a class keeps a fifth of the units of
each layer, drawn at random from a seed, and so two classes together keep about 0.36. The real case is vgg_medium, by
MODA (published coefficients) on 10,000 Fashion-MNIST images for 3 epochs, with masks at tau 0.9 and threshold 0.1;
where MODA_DATA_DIR does not lead to the images, it is vgg_small on digits, and the table says so.

Usage: [MODA_DATA_DIR=...] python tests/benchmarks/module_inference.py [vgg16 resnet18 mobilenet_v1 trained]
Time: about 4 minutes on two cores, 1 of them training
"""

import statistics
import sys
import time

import safetensors.torch
import torch
from torch import Tensor, nn

from moda_core import (
    build_model,
    cut_network,
    largest_difference,
    mask_network,
    merge_masks,
    unit_layers,
)
from moda_core.cutting.extract import LARGEST_DIFFERENCE
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import choose, prepare
from orchestrator.training.loop import choose_precision, train
from orchestrator.training.methods import make_method
from orchestrator.training.trial import make_network

CLASSES, KEPT, ROUNDS = 10, 0.2, 9
CALLS = {1: 10, 128: 1}  # by batch: timed calls in a row, after one that is not timed
MODELS = ("vgg16", "resnet18", "mobilenet_v1")
MODULES = {"one class": [3], "two classes": [3, 7]}
EPOCHS, TAU, THRESHOLD = 3, 0.9, 0.1
Case = tuple[str, nn.Module, list[Tensor], Tensor]  # title, network, L masks of (C, N_l), images (128, ch, H, W)


def random_case(name: str) -> Case:
    """An untrained network, and masks that keep the same share of every layer."""
    torch.manual_seed(0)
    network = build_model(name, in_channels=3, image_size=32, num_classes=CLASSES).eval()
    images = torch.randn(128, 3, 32, 32)
    masks = []
    for width in unit_layers(network, images[:2]).widths:
        order_CN = torch.rand(CLASSES, width).argsort(1)
        masks.append(order_CN < max(1, round(KEPT * width)))
    return f"{name}, untrained, a class keeps {KEPT:g} of each layer at random", network, masks, images


def trained_case() -> Case:
    """A small VGG by MODA, and its masks."""
    try:
        data_set = ["model=vgg_medium", "data=fashion_mnist", "training=fashion_mnist", f"training.epochs={EPOCHS}"]
        config = load_config(
            [*data_set, "method=moda_published", "data.limit=10000", "data.test_limit=5000", "tracking=none"]
        )
        data = load_data(config.data)
    except ConfigError as error:
        print(f"\ndigits in place of Fashion-MNIST: {error}")
        config = load_config(["method=moda_published", "tracking=none"])
        data = load_data(config.data)
    network = make_network(config, data)
    precision = choose_precision(config.training.precision, torch.device("cpu"))
    for _ in train(
        network,
        data.train,
        config.training,
        make_method(config.method),
        num_classes=data.num_classes,
        precision=precision,
    ):
        pass
    trained = prepare(network.eval(), data, config)
    masks = list(choose(trained, Choice.activity(TAU, THRESHOLD), config.evaluation).units.keep)
    shares = [float(mask_CN.float().mean()) for mask_CN in masks]
    title = (
        f"{config.model.name} {config.model.options}, trained on {config.data.name}, tau {TAU:g}, threshold"
        f" {THRESHOLD:g}: a class keeps {min(shares):.2f} to {max(shares):.2f} of a layer, on average"
        f" {statistics.mean(shares):.2f}"
    )
    return title, network, masks, data.test[torch.arange(128)]


def variants(network: nn.Module, masks: list[Tensor], images: Tensor) -> dict[str, nn.Module]:
    """The full model and its modules, all in the same memory layout."""
    layers = unit_layers(network, images[:2])
    found = {"full": network}
    for title, class_ids in MODULES.items():
        keep = merge_masks(masks, class_ids)
        masked = mask_network(network, layers, keep, class_ids).eval()
        cut = cut_network(network, layers, keep, class_ids, images[:2]).eval()
        difference = largest_difference(masked, cut, images[:16])
        assert difference <= LARGEST_DIFFERENCE, f"cut and masked logits differ by {difference:.2e}"
        found |= {f"masked, {title}": masked, f"cut, {title}": cut}
    return {title: one.to(memory_format=torch.channels_last) for title, one in found.items()}


def seconds(network: nn.Module, images: Tensor) -> float:
    """Of one call: the mean of some in a row, after one that warms the caches."""
    calls = CALLS[len(images)]
    network(images)
    synchronize(images)
    started = time.perf_counter()
    for _ in range(calls):
        network(images)
    synchronize(images)
    return (time.perf_counter() - started) / calls


def synchronize(images: Tensor) -> None:
    if images.device.type == "cuda":
        torch.cuda.synchronize()


def latencies(networks: dict[str, nn.Module], images: Tensor) -> dict[str, float]:
    """Median over interleaved rounds; one round before them warms up."""
    times: dict[str, list[float]] = {title: [] for title in networks}
    with torch.inference_mode():
        for repeat in range(ROUNDS + 1):
            for title, network in networks.items():
                took = seconds(network, images)
                if repeat:
                    times[title].append(took)
    return {title: statistics.median(found) for title, found in times.items()}


def parameters(network: nn.Module) -> int:
    return sum(one.numel() for one in network.parameters() if one.requires_grad)


def bytes_on_disk(network: nn.Module) -> int:
    return len(safetensors.torch.save({name: one.contiguous() for name, one in network.state_dict().items()}))


def print_table(case: Case, device: torch.device) -> None:
    title, network, masks, images = case
    images = images.to(device, memory_format=torch.channels_last)
    networks = variants(network.to(device), masks, images)
    single, many = latencies(networks, images[:1]), latencies(networks, images)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"\n{title}; {where}\n")
    print("| model | parameters | ratio | MB on disk | ratio | ms, batch 1 | ratio | ms, batch 128 | ratio |")
    print("|---" * 9 + "|")
    values = {
        title: (parameters(one) / 1e6, bytes_on_disk(one) / 1e6, 1000 * single[title], 1000 * many[title])
        for title, one in networks.items()
    }
    for title, found in values.items():
        cells = [f"{value:.3f} | {value / whole:.3f}" for value, whole in zip(found, values["full"], strict=True)]
        cells[0] = cells[0].replace(" |", " M |", 1)
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


def main(names: list[str]) -> None:
    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    for name in names:
        case = trained_case() if name == "trained" else random_case(name)
        for device in devices:
            print_table(case, device)


if __name__ == "__main__":
    main(sys.argv[1:] or [*MODELS, "trained"])
