"""Small random networks made of the operations that cutting knows, each a program that forward runs step by step."""

import random

import torch
from torch import nn
from torch.nn import functional as F

from moda_core import unit_sites
from moda_core.units.dimensions import channel_dimensions
from moda_core.units.tracing import trace_with_shapes
from tests.moda_core.conftest import randomise

ACTIVATIONS = [nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.SiLU, nn.GELU, lambda: nn.GELU("tanh")]
FUNCTIONS = [
    *(F.relu, torch.relu, F.relu6, F.leaky_relu, F.hardswish, F.silu, F.gelu),
    *(lambda x: x * x.sigmoid(), lambda x: x.clamp(min=0), lambda x: x * F.relu6(x + 3) / 6),
]
STEPS = [
    *("conv", "conv", "depthwise", "grouped", "grouped", "pointwise", "pointwise", "bn", "bn", "gn", "ln", "pool"),
    *("avg", "add", "add", "project", "se", "concat", "chunk", "shuffle", "shared", "shared", "number", "dropout"),
    *("slice", "stride", "pad", "gate", "scale", "shift"),
]


def squeeze(x, module):
    """The factor of a squeeze-and-excitation, from one convolution or from one linear layer."""
    if isinstance(module[0], nn.Conv2d):
        return torch.sigmoid(module[0](F.relu(F.adaptive_avg_pool2d(x, 1))))
    return F.hardsigmoid(module[0](x.mean((2, 3)))).view(x.shape[0], -1, 1, 1).expand_as(x)


def shuffle(x, groups):
    b, c, h, w = x.shape
    return x.view(b, groups, c // groups, h, w).transpose(1, 2).reshape(b, c, h, w)


class PerChannel(nn.Module):
    """A number for every channel that scales or shifts it."""

    def __init__(self, channels, operation):
        super().__init__()
        self.operation, self.numbers = operation, nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return self.operation(x, self.numbers.view(1, -1, 1, 1).expand_as(x))


class RandomNetwork(nn.Module):
    """A program of ``steps`` operations on values of (channels, side), then pooling or flattening and two layers."""

    def __init__(self, seed, steps=9, classes=3, side=6):
        super().__init__()
        self.random = random.Random(seed)
        self.layers = nn.ModuleList()
        self.program = []
        self.shapes = [(3, side)]
        self.shared = {}
        self.emit("module", (0,), (self.random.choice([4, 6]), side), nn.Conv2d(3, 4, 3, padding=1))
        self.layers[-1] = nn.Conv2d(3, self.shapes[-1][0], 3, padding=1)
        for _ in range(steps):
            self.step()
            if self.random.random() < 0.5:
                self.activation()
        self.activation()
        self.tail(classes)

    def emit(self, kind, inputs, shape, module=None, option=None):
        at = None
        if module is not None:
            at = len(self.layers)
            self.layers.append(module)
        self.program.append((kind, inputs, at, option))
        self.shapes.append(shape)

    def activation(self):
        last = len(self.shapes) - 1
        if self.random.random() < 0.5:
            self.emit("module", (last,), self.shapes[last], self.random.choice(ACTIVATIONS)())
        else:
            self.emit("function", (last,), self.shapes[last], option=self.random.choice(FUNCTIONS))

    def step(self):
        pick = self.random
        at = pick.choice(range(max(1, len(self.shapes) - 3), len(self.shapes)))
        channels, side = self.shapes[at]
        choice = pick.choice(STEPS)
        even = channels % 2 == 0
        if choice in ("conv", "depthwise", "grouped", "pointwise"):
            groups = {"depthwise": channels, "grouped": 2 if even else 1}.get(choice, 1)
            kernel = 1 if choice == "pointwise" or side < 3 else 3
            dilation = pick.choice([1, 2]) if kernel == 3 else 1
            padding = dilation if kernel == 3 and (side < 5 or pick.random() < 0.6) else 0
            outputs = groups * pick.choice([1, 2]) if groups > 2 else pick.choice([2, 4, 6])
            outputs = min(outputs, 12) if groups <= 2 else outputs
            layer = nn.Conv2d(
                channels, outputs, kernel, padding=padding, dilation=dilation, groups=groups, bias=pick.random() < 0.5
            )
            self.emit("module", (at,), (outputs, side + 2 * padding - dilation * (kernel - 1)), layer)
        elif choice == "bn":
            self.emit("module", (at,), (channels, side), nn.BatchNorm2d(channels, affine=pick.random() < 0.8))
        elif choice == "gn":
            groups = pick.choice([g for g in (1, 2, channels) if channels % g == 0 and channels // g * side > 1])
            self.emit("module", (at,), (channels, side), nn.GroupNorm(groups, channels, affine=pick.random() < 0.7))
        elif choice == "ln" and side * channels > 1:
            layer = nn.LayerNorm((channels, side, side), elementwise_affine=pick.random() < 0.6)
            self.emit("module", (at,), (channels, side), layer)
        elif choice in ("pool", "avg") and side >= 4:
            padding = pick.choice([0, 1])
            kind = nn.MaxPool2d if choice == "pool" else nn.AvgPool2d
            self.emit("module", (at,), (channels, (side + 2 * padding - 2) // 2 + 1), kind(2, padding=padding))
        elif choice == "add":
            others = [index for index, shape in enumerate(self.shapes) if shape == (channels, side)]
            self.emit("add", (at, pick.choice(others)), (channels, side))
        elif choice == "project":
            other = pick.choice([index for index, shape in enumerate(self.shapes) if shape[1] == side])
            self.emit("add", (at, other), (channels, side), nn.Conv2d(self.shapes[other][0], channels, 1, bias=False))
        elif choice == "se":
            layer = nn.Conv2d(channels, channels, 1) if pick.random() < 0.5 else nn.Linear(channels, channels)
            self.emit("se", (at,), (channels, side), nn.ModuleList([layer]))
        elif choice == "concat":
            others = [index for index, shape in enumerate(self.shapes) if shape[1] == side]
            inputs = (at, pick.choice(others), at)[: pick.choice([2, 3])]
            self.emit("concat", inputs, (sum(self.shapes[index][0] for index in inputs), side))
        elif choice == "chunk" and even:
            self.emit("chunk", (at,), (channels // 2, side), option=pick.choice([0, 1]))
        elif choice == "slice" and channels > 2:
            self.emit("slice", (at,), (channels - 2, side))
        elif choice == "stride" and side > 3:
            self.emit("stride", (at,), (channels, (side + 1) // 2))
        elif choice == "pad":
            self.emit("pad", (at,), (channels + 3, side))
        elif choice == "gate":
            self.emit("gate", (at,), (channels, side), nn.Conv2d(channels, 1, 1))
        elif choice in ("scale", "shift"):
            operation = torch.mul if choice == "scale" else torch.add
            self.emit("module", (at,), (channels, side), PerChannel(channels, operation))
        elif choice == "shuffle" and even:
            self.emit("shuffle", (at,), (channels, side), option=2)
        elif choice == "shared":
            norm = pick.random() < 0.3
            key = (channels, norm)
            if key not in self.shared:
                self.shared[key] = len(self.layers)
                padding = pick.choice([0, 1])
                make = nn.BatchNorm2d(channels) if norm else nn.Conv2d(channels, channels, 1 + 2 * padding, 1, padding)
                self.emit("module", (at,), (channels, side), make)
            else:
                self.program.append(("module", (at,), self.shared[key], None))
                self.shapes.append((channels, side))
        elif choice == "number":
            self.emit("number", (at,), (channels, side), option=pick.choice([(2.0, 0.0), (0.5, 1.0)]))
        elif choice == "dropout":
            self.emit("module", (at,), (channels, side), nn.Dropout(0.5))

    def tail(self, classes):
        last = len(self.shapes) - 1
        channels, side = self.shapes[last]
        features = channels
        if self.random.random() < 0.5:
            self.emit("module", (last,), (channels, 1), nn.AdaptiveAvgPool2d(1))
        else:
            features *= side * side
        self.flatten = self.random.choice(["flatten", "view", "reshape"])
        self.hidden = nn.Linear(features, 5)
        self.norm = self.random.choice([nn.Identity(), nn.BatchNorm1d(5), nn.LayerNorm(5)])
        self.head = nn.Linear(5, classes, bias=self.random.random() < 0.5)

    def forward(self, x):
        values = [x]
        for kind, inputs, at, option in self.program:
            layer = None if at is None else self.layers[at]
            value = values[inputs[0]]
            if kind == "module":
                value = layer(value)
            elif kind == "function":
                value = option(value)
            elif kind == "add":
                other = values[inputs[1]]
                value = value + (other if layer is None else layer(other))
            elif kind == "se":
                value = value * squeeze(value, layer)
            elif kind == "concat":
                value = torch.cat([values[index] for index in inputs], 1)
            elif kind == "chunk":
                value = value.chunk(2, 1)[option]
            elif kind == "slice":
                value = value[:, 1:-1]
            elif kind == "stride":
                value = value[:, :, ::2, ::2]
            elif kind == "pad":
                value = F.pad(value, (0, 0, 0, 0, 1, 2))
            elif kind == "gate":
                value = value * torch.sigmoid(layer(value))
            elif kind == "shuffle":
                value = shuffle(value, option)
            else:
                value = value * option[0] + option[1]
            values.append(value)
        last = values[-1]
        flat = torch.flatten(last, 1) if self.flatten == "flatten" else getattr(last, self.flatten)(last.size(0), -1)
        return self.head(F.relu(self.norm(F.relu(self.hidden(flat)))))


def random_network(seed, **options):
    return randomise(RandomNetwork(seed, **options), seed)


def random_sites(network, images, seed, share=0.4):
    """Some of the calls that give channels in dimension 1, activations and others; always the last layer but one."""
    chance = random.Random(seed)
    graph = trace_with_shapes(network, images)
    dimensions = channel_dimensions(graph, dict(network.named_modules()))
    calls = [node for node in graph.nodes if node.op.startswith("call_") and dimensions.get(node) == 1]
    tensors = [node for node in calls if isinstance(node.meta["value"], torch.Tensor)]
    # Pixels that were expanded are one number each, and cutting refuses to take them apart.
    wanted = {node.name for node in tensors if node.target != "expand_as" and chance.random() < share} | {"hidden"}
    return unit_sites(network, images, lambda node, module: node.name in wanted)
