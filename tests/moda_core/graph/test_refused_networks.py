"""What cannot be traced or cut is refused before training: one line names the call and what to write instead."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import unit_layers
from moda_core.errors import NetworkError
from moda_core.graph.reading import channel_graph
from tests.moda_core.graph.public_networks import Network, conv, pooled

IMAGES = torch.zeros(2, 3, 8, 8)


@torch.jit.script
def scripted(x):
    return x * torch.sigmoid(x)


class DropPath(nn.Module):
    """As timm's, but in eval mode it halves."""

    def forward(self, x):
        return x if self.training else x / 2


def drop_path(x, training):
    if not training:
        return x
    return x * x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(0.9)


def assigned(n, x):
    x = F.relu(n.layer(x))
    x[:, 0] = 0
    return n.head(pooled(x))


def frozen(n, x):
    return n.head(pooled(F.relu(n.layer(x)) + torch.randn(8, 1, 1)))


def mixed(n, x):
    return n.head(F.relu(n.layer(x)).mean((2, 3))).view(2, -1)


def of(function):
    """The logits of a function of an activation."""
    return lambda n, x: n.head(pooled(function(n, F.relu(n.layer(x)))))


REFUSED = {
    "a branch on values": (of(lambda n, x: x if x.sum() > 0 else -x), r"depends on a tensor's values.*torch\.where"),
    "a branch on the batch": (of(lambda n, x: x if x.size(0) > 1 else x * 2), "number of images; write it with"),
    "the larger of two": (of(lambda n, x: torch.max(*x.chunk(2, 1)).repeat(1, 2, 1, 1)), "does not know.*max"),
    "parts of a batch": (
        of(lambda n, x: torch.cat([part * part.mean() for part in x.chunk(2, 0)])),
        "for a batch of 1",
    ),
    "len of a batch": (lambda n, x: n.head(pooled(F.relu(n.layer(x)))).view(len(x), -1), r"write x\.size\(0\)"),
    "a loop over images": (of(lambda n, x: torch.cat([y[None] for y in x])), r"len\(\) of a batch"),
    "a range over images": (of(lambda n, x: torch.cat([x[i : i + 1] for i in range(x.size(0))])), "a Python number"),
    "a number of values": (of(lambda n, x: x * x.mean().item()), r"\.item\(\) makes Python numbers"),
    "zeros for a batch": (of(lambda n, x: x + torch.zeros(x.size(0), 8, 1, 1)), r"torch\.zeros.*write x\.new_zeros"),
    "an assignment": (assigned, r"assigns into a tensor; write torch\.cat, torch\.where or F\.pad"),
    "a layer made in forward": (
        of(lambda n, x: nn.Conv2d(8, 8, 1)(x)),
        "Conv2d is not a part of the network.*__init__",
    ),
    "a plain list of layers": (of(lambda n, x: n.plain[0](x)), r"Conv2d is not a part of the network.*nn\.ModuleList"),
    "a scripted function": (of(lambda n, x: scripted(x)), "only operations of torch"),
    "dropout as a function": (of(lambda n, x: F.dropout(x, 0.5, n.training)), r"freezes dropout.*nn\.Dropout"),
    "dropout by position": (of(lambda n, x: F.dropout(x, 0.5, False)), r"freezes dropout.*nn\.Dropout"),
    "dropout made in forward": (of(lambda n, x: nn.Dropout(0.5)(x)), r"freezes dropout.*nn\.Dropout"),
    "drop path as a function": (of(lambda n, x: drop_path(x, n.training)), r"freezes bernoulli_.*StochasticDepth"),
    "drop path that is none": (of(lambda n, x: n.path(x)), "'path': cutting does not know the operation DropPath"),
    "noise": (of(lambda n, x: x + torch.randn_like(x)), "freezes randn_like, which differs in training"),
    "noise that is frozen": (frozen, "computes something else than its traced graph for a batch of 1"),
    "a squeeze of the batch": (
        lambda n, x: n.head(F.adaptive_avg_pool2d(F.relu(n.layer(x)), 1).squeeze()),
        r"batch of 1; write \.flatten\(1\) instead of \.squeeze",
    ),
    "a fixed number of images": (mixed, r"batch of 1; write \.flatten\(1\)|does not take images"),
    "images that are mixed": (lambda n, x: n.head(F.relu(n.layer(x)).view(-1, 8)), "instead of a fixed number"),
    "a resize": (of(lambda n, x: F.interpolate(x, scale_factor=2)), "'interpolate': cutting does not know"),
    "padded pixels": (of(lambda n, x: n.layer(F.pad(x, (0, 1, 0, 1)))), r"pad with .*convolution or pool behind it"),
    "padded pixels by a layer": (of(lambda n, x: n.layer(n.pad(x))), "ZeroPad2d.*give the convolution or pool"),
    "a mean of channels": (of(lambda n, x: x * x.mean(1, keepdim=True)), "'mean': cutting does not know"),
    "a largest channel": (of(lambda n, x: x * x.max(1, keepdim=True)[0]), "'max_1': cutting does not know"),
    "where the largest is": (of(lambda n, x: x * x.flatten(2).max(2)[1].view(-1, 8, 1, 1)), "change places"),
    "a convolution as a function": (of(lambda n, x: F.conv2d(x, n.weight)), "does not know .*conv2d.*make it a layer"),
    "one number for all channels": (of(lambda n, x: x * n.number), "'number' it needs one number per channel"),
    "a number for each pixel": (of(lambda n, x: x + n.places), "'places' it needs one number per channel"),
    "a computed parameter": (of(lambda n, x: x * (1 + n.scale)), "reads 'scale'.*does not know to follow"),
    "a parameter in two places": (of(lambda n, x: x * n.scale + n.scale), "not one parameter|another operation"),
    "another activation": (of(lambda n, x: F.mish(x)), r"mish .*use an activation that it knows \(relu,"),
    "another activation layer": (of(lambda n, x: n.elu(x)), r"ELU\(.*use an activation that it knows \(relu,"),
    "probabilities": (lambda n, x: F.softmax(n.head(pooled(F.relu(n.layer(x)))), 1), "softmax .*return the logits"),
    "a dictionary": (lambda n, x: {"logits": n.head(pooled(F.relu(n.layer(x))))}, "returns its logits alone"),
    "a list": (lambda n, x: [n.head(pooled(F.relu(n.layer(x))))] * 2, "returns its logits alone"),
    "an error of its own": (lambda n, x: n.nothing, r"does not take images of shape \(3, 8, 8\).*'nothing'"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("training", [True, False])
def test_what_is_refused_says_what_to_write_instead(name, training):
    body, message = REFUSED[name]
    parameters = {"weight": torch.ones(8, 8, 1, 1), "number": torch.ones(()), "places": torch.ones(1, 1, 8, 8)}
    layers = {key: nn.Parameter(value) for key, value in parameters.items()}
    layers |= {"pad": nn.ZeroPad2d(1), "elu": nn.ELU(), "scale": nn.Parameter(torch.ones(8, 1, 1)), "path": DropPath()}
    network = Network(body, layer=conv(), **layers)
    object.__setattr__(network, "plain", [conv()])
    network.train(training)
    if name == "drop path as a function" and not training:
        return  # it passes what it is given
    with pytest.raises(NetworkError, match=message) as refused:
        channel_graph(network, unit_layers(network, IMAGES), IMAGES)
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) <= 500
    assert "0x" not in text


class Remembering(nn.Module):
    """A network that counts its calls and keeps its features."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.features = None

    def forward(self, x):
        self.calls += 1
        self.features = F.relu(self.layer(x))
        self.logits = self.head(self.features.mean((2, 3)))
        return self.logits


def test_tracing_leaves_nothing_in_a_network():
    network = Remembering().train()
    layers = unit_layers(network, IMAGES)
    channel_graph(network, layers, IMAGES)
    assert network.features is None
    assert not hasattr(network, "logits")
    assert isinstance(network.calls, torch.Tensor)
    assert int(network.calls) == 0
    assert network.training


@pytest.mark.parametrize("wrap", [torch.jit.script, nn.DataParallel])
def test_wrapped_networks_are_refused(wrap):
    inside = nn.Sequential(conv(3, 8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))
    with pytest.raises(NetworkError, match=r"give the nn\.Module inside it"):
        unit_layers(wrap(inside), IMAGES)
    with pytest.raises(NetworkError, match=r"wraps 0, which hides what it computes"):
        unit_layers(nn.Sequential(wrap(inside), nn.Identity()), IMAGES)


def test_two_inputs_are_refused():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(NetworkError, match="Two does not take images of shape"):
        unit_layers(Two(), IMAGES)
