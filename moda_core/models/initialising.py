"""How the published code initialises its networks, which is not how PyTorch does."""

from torch import nn

# Standard deviation of the weights of linear layers, whose biases are 0 then; None where PyTorch's own are kept.
LINEAR_DEVIATIONS: dict[str, float | None] = {
    "lenet5": None,
    "mobilenet_v1": 0.01,
    "resnet18": None,
    "resnet50": None,
    "vgg": 0.01,
    "vgg16": 0.01,
}
TRANSFORMER_DEVIATION = 0.02  # of class tokens and embeddings of positions, and of all weights as published


def initialise_transformer(network: nn.Module) -> None:
    """Draw the weights of a Transformer as the published code does, from PyTorch's global generator: weights of linear
    layers and of the patches' convolution are normal with deviation 0.02, cut at two units, and biases are 0.

    Args:
        network: changed in place.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=TRANSFORMER_DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialise_published(network: nn.Module, linear_deviation: float | None) -> None:
    """Draw the weights of a network as the published code does, from PyTorch's global generator.

    Weights of convolutions are normal with deviation sqrt(2 / fan out) (He), and their biases are 0.

    Args:
        network: changed in place.
        linear_deviation: of the weights of linear layers, whose biases become 0; None leaves these layers as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear) and linear_deviation is not None:
            nn.init.normal_(module.weight, std=linear_deviation)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
