"""Networks as they are written in well-known collections for CIFAR, small: what each is about, in few lines."""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

SIDE = 8


class Network(nn.Module):
    """A stem of 8 channels, ``layers`` by name, and ``body(network, features)`` that makes the logits."""

    def __init__(self, body, **layers):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        for name, layer in layers.items():
            if isinstance(layer, nn.Parameter) or not isinstance(layer, torch.Tensor):
                setattr(self, name, layer)
            else:
                self.register_buffer(name, layer)
        self.body = body

    def forward(self, x):
        return self.body(self, F.relu(self.stem(x)))


def conv(inputs=8, outputs=8, kernel=3, **options):
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


def pooled(x):
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


class Block(nn.Module):
    """A residual block whose shortcut is a function, as option A of the CIFAR ResNets."""

    def __init__(self, shortcut):
        super().__init__()
        self.first, self.second = conv(8, 16, stride=2), conv(16, 16)
        self.norms = nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(16)])
        self.shortcut = Lambda(shortcut)

    def forward(self, x):
        out = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(out)) + self.shortcut(x))


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Swish(nn.Module):
    def forward(self, x):
        return x * x.sigmoid()


class HardSwish(nn.Module):
    def forward(self, x):
        return x * F.relu6(x + 3) / 6


class Dense(nn.Module):
    """A dense layer: what it makes is put beside what it reads."""

    def __init__(self, inputs):
        super().__init__()
        self.norm, self.layer = nn.BatchNorm2d(inputs), conv(inputs, 4, bias=False)

    def forward(self, x):
        return torch.cat([self.layer(F.relu(self.norm(x))), x], 1)


class Gate(nn.Module):
    """Squeeze and excitation with a linear layer, its window read from the image."""

    def __init__(self):
        super().__init__()
        self.less, self.more = nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, x):
        batch, channels, _, _ = x.size()
        factor = F.avg_pool2d(x, x.size(2)).view(batch, channels)
        factor = torch.sigmoid(self.more(F.relu(self.less(factor))))
        return x * factor.view(batch, channels, 1, 1).expand_as(x)


def option_a(x):
    return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4), "constant", 0)


def option_a_by_pool(x):
    x = F.avg_pool2d(x, 1, 2)
    return torch.cat((x, x.mul(0)), 1)


def option_a_by_zeros(x):
    x = x[:, :, ::2, ::2]
    return torch.cat([x, x.new_zeros(x.size(0), 8, x.size(2), x.size(3))], dim=1)


def shuffled(x, groups=2):
    batch, channels, height, width = x.data.size() if groups == 0 else x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, -1, height, width)


def halves(n, x):
    split = int(x.size(1) * 0.5)
    left, right = x[:, :split, :, :], x[:, split:, :, :]
    return n.head(pooled(shuffled(torch.cat([left, F.relu(n.branch(right))], 1))))


def loop(n, x):
    for index in range(len(n.blocks)):
        x = n.blocks[index](x)
    return n.head(x.mean([2, 3]))


def named_layers(n, x):
    for index in (1, 2):
        x = F.relu(getattr(n, f"layer{index}")(x))
    return n.head(x.mean(dim=(-2, -1)))


def window_of_both_sides(n, x):
    return n.head(F.avg_pool2d(F.relu(n.layer(x)), kernel_size=x.size()[2:]).view(x.size(0), -1))


def window_by_shape(n, x):
    return n.head(F.avg_pool2d(F.relu(n.layer(x)), x.shape[-1]).squeeze(-1).squeeze(-1))


def activation_made_in_forward(n, x):
    return n.head(nn.Flatten()(nn.AdaptiveAvgPool2d((1, 1))(nn.ReLU(inplace=True)(n.layer(x)))))


def asserted(n, x):
    batch, channels = x.shape[:2]
    assert x.ndim == x.dim() == len(x.shape) == 4
    assert channels == 8, f"{channels} channels"
    assert x.size(0) == batch > 0
    x = F.relu(n.layer(x))
    if x.shape[2] != x.shape[3] or x.shape[1] % 2:
        raise ValueError("square images are needed")
    return n.head(F.adaptive_avg_pool2d(x, (1, 1)).reshape(batch, -1))


def three_dimensions(n, x):
    x = F.relu(n.layer(x))
    return n.head(x.view(x.shape[0], x.shape[1], -1).mean(2))


def flattened_by_number(n, x):
    x = F.max_pool2d(F.relu(n.layer(x)), 4)
    return n.head(F.relu(n.wide(x.view(-1, 8 * 2 * 2))))


def flattened_by_product(n, x):
    x = F.max_pool2d(F.relu(n.layer(x)), 4)
    return n.head(F.relu(n.wide(x.view(-1, math.prod(x.size()[1:])))))


def two_means(n, x):
    return n.head(F.relu(n.layer(x)).mean(3).mean(2))


def mean_and_max(n, x):  # the channel gate of CBAM
    x = F.relu(n.layer(x))
    mean, largest = F.avg_pool2d(x, x.size()[2:]), F.max_pool2d(x, (x.size(2), x.size(3)))
    gate = torch.sigmoid(sum(n.more(F.relu(n.less(part.flatten(1)))) for part in (mean, largest)))
    return n.head(pooled(x * gate.unsqueeze(2).unsqueeze(3).expand_as(x)))


def largest(n, x):
    x = F.relu(n.layer(x))
    return n.head(x.amax((2, 3)) + F.adaptive_max_pool2d(x, 1).flatten(1) + n.pool(x).flatten(1))


def attention_gate(n, x):
    return n.head(pooled(x * torch.sigmoid(n.gate(F.relu(n.layer(x))))))


def layer_scale(n, x):
    return n.head(pooled(x + n.scale.view(1, -1, 1, 1) * F.relu(n.layer(x))))


def expanded_scale(n, x):
    x = F.relu(n.layer(x))
    return n.head(pooled(F.relu(n.layer(x * n.scale.expand_as(x)) + n.shift[None, :, None, None])))


def scaled_features(n, x):
    return n.head(pooled(F.relu(n.layer(x))) * n.scale - n.shift)


def normalised(n, x):
    return n.head(pooled(F.relu(n.layer((x - n.mean) / n.deviation))))


def permuted(n, x):
    return n.head(pooled(F.relu(n.layer(x[:, n.order])) + x.index_select(1, n.order)))


def dual_path(n, x):  # a sum of some channels, the others side by side
    out = n.layer(x)
    return n.head(pooled(F.relu(torch.cat([x[:, :5] + out[:, :5], x[:, 5:], out[:, 5:]], 1))))


def split_and_summed(n, x):
    parts = torch.split(F.relu(n.layer(x)), 4, 1)
    first, second = x.chunk(2, dim=1)
    return n.head(pooled(sum(parts) * first + second.contiguous()))


def a_list_of_parts(n, x):
    parts, last = [], None
    for index, part in enumerate(x.split(2, 1)):
        last = part if last is None else F.relu(n.narrow[index - 1](part + last))
        parts.append(last)
    return n.head(pooled(torch.cat(parts, 1)))


def shared_layer(n, x):
    for _ in range(3):
        x = F.relu(n.norm(n.layer(x))) + x
    return n.head(torch.flatten(n.nothing(F.adaptive_avg_pool2d(x, 1)), 1))


def checkpointed(n, x):
    x = checkpoint(lambda y: F.relu(n.layer(y)), x, use_reentrant=False)
    return n.head(pooled(checkpoint(lambda y: F.relu(n.layer(y)), x, use_reentrant=True)))


def clamped(n, x):
    first, second = n.layer(x).clamp(min=0), torch.clamp(n.layer(x), 0, 6)
    third = torch.maximum(n.layer(x), torch.zeros_like(x)) + n.layer(x).clamp_min(0)
    return n.head(pooled(first + second + third))


def gelu_by_hand(n, x):
    x = n.layer(x)
    x = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    x = n.layer(x)
    return n.head(pooled(0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))))


def swish_in_place(n, x):
    x = n.layer(x)
    return n.head(pooled(x.mul_(x.sigmoid())))


def squeezed(n, x):
    x = F.relu(n.layer(x)).mean(3, keepdim=True).mean(2, keepdim=True)
    return n.head(torch.squeeze(torch.squeeze(x, 3), 2))


def repeated(n, x):
    gate = torch.sigmoid(n.layer(x)).mean((2, 3), keepdim=True)
    x = x * gate.repeat(1, 1, x.size(2), x.size(3))
    return n.head(pooled(F.relu(n.twice(x)).repeat(1, 1, 1, 1)))


def converted(n, x):
    x = F.relu(n.norm(n.layer(x))).to(x.dtype).type_as(x)
    return n.head(x.max(3)[0].max(2)[0] + x.sum((2, 3)) + x.clone().mean((3, 2)))


class WithOptions(nn.Module):
    """A block whose forward takes more than its input."""

    def __init__(self):
        super().__init__()
        self.layer, self.path, self.parts = conv(), DropPath(), conv(8, 8, 1)

    def forward(self, x, residual=True, *, scale=None):
        out = self.path(F.relu(self.layer(x)))
        out = x + out if residual else out
        return self.parts(out if scale is None else out * scale)


class DropPath(nn.Module):
    """As timm's."""

    def forward(self, x):
        if not self.training:
            return x
        return x * x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(0.9)


def vector(size=8, seed=0, shape=None):
    values = torch.rand(size, generator=torch.Generator().manual_seed(seed)) + 0.5
    return values if shape is None else values.view(shape)


def highway(n, x):
    gate = torch.sigmoid(n.gate(x))
    return n.head(pooled(F.relu(n.layer(x)) * gate + x * (1 - gate)))


def both_signs(n, x):
    x = n.layer(x)
    return n.head(n.less(pooled(torch.cat([F.relu(x), F.relu(-x)], 1))))


def differences(n, x):
    x = F.relu(n.layer(x))
    return n.head(pooled(x - F.adaptive_avg_pool2d(x, 1)) - pooled(x).neg())


def networks():
    """A function that makes each network, by what it is about."""
    makers = {
        "squeeze and excitation, window from the image": (loop, {"blocks": [Gate(), conv(), nn.ReLU(), Gate()]}),
        "window from both sides": (window_of_both_sides, {"layer": conv()}),
        "window from the shape": (window_by_shape, {"layer": conv()}),
        "a highway gate": (highway, {"layer": conv(), "gate": conv()}),
        "both signs": (both_signs, {"layer": conv(), "less": nn.Linear(16, 8)}),
        "differences": (differences, {"layer": conv()}),
        "layers made in forward": (activation_made_in_forward, {"layer": conv()}),
        "channels halved by int": (halves, {"branch": conv(4, 4)}),
        "assertions on shapes": (asserted, {"layer": conv()}),
        "mean of a view": (three_dimensions, {"layer": conv()}),
        "view(-1, n)": (flattened_by_number, {"layer": conv(), "wide": nn.Linear(32, 8)}),
        "view(-1, product of sizes)": (flattened_by_product, {"layer": conv(), "wide": nn.Linear(32, 8)}),
        "a mean of means": (two_means, {"layer": conv()}),
        "squeeze of named dimensions": (squeezed, {"layer": conv()}),
        "mean and largest value": (
            mean_and_max,
            {"layer": conv(), "less": nn.Linear(8, 2), "more": nn.Linear(2, 8)},
        ),
        "amax and adaptive max pools": (largest, {"layer": conv(), "pool": nn.AdaptiveMaxPool2d(1)}),
        "attention gate of one channel": (attention_gate, {"layer": conv(), "gate": conv(8, 1, 1)}),
        "layer scale": (layer_scale, {"layer": conv(), "scale": nn.Parameter(vector())}),
        "expand_as of a parameter": (
            expanded_scale,
            {"layer": conv(), "scale": nn.Parameter(vector(shape=(1, 8, 1, 1))), "shift": nn.Parameter(vector())},
        ),
        "a scale and a shift of features": (
            scaled_features,
            {"layer": conv(), "scale": nn.Parameter(vector()), "shift": nn.Parameter(vector(seed=1))},
        ),
        "normalisation by buffers": (
            normalised,
            {"layer": conv(), "mean": vector(shape=(8, 1, 1)), "deviation": vector(shape=(1, 8, 1, 1))},
        ),
        "channels permuted by a buffer": (permuted, {"layer": conv(), "order": torch.randperm(8)}),
        "dual path": (dual_path, {"layer": conv(), "head": nn.Linear(11, 4)}),
        "split, chunk, sum": (split_and_summed, {"layer": conv(), "head": nn.Linear(4, 4)}),
        "a loop over split": (a_list_of_parts, {"narrow": [conv(2, 2) for _ in range(3)]}),
        "weights shared by calls": (
            shared_layer,
            {"layer": conv(), "norm": nn.BatchNorm2d(8), "nothing": nn.Identity()},
        ),
        "gradient checkpointing": (checkpointed, {"layer": conv()}),
        "activations by clamp and maximum": (clamped, {"layer": conv()}),
        "swish in a module": (loop, {"blocks": [conv(), Swish(), conv(), HardSwish(), conv()]}),
        "swish in place": (swish_in_place, {"layer": conv()}),
        "GELU by hand": (gelu_by_hand, {"layer": conv()}),
        "a gate repeated over pixels": (
            repeated,
            {"layer": conv(), "twice": conv(8, 16), "head": nn.Linear(16, 4)},
        ),
        "types, sums and largest values": (
            converted,
            {"layer": conv(), "norm": nn.InstanceNorm2d(8, affine=True)},
        ),
        "arguments with defaults, drop path": (
            lambda n, x: n.head(pooled(F.relu(n.block(x, scale=0.5)))),
            {"block": WithOptions()},
        ),
        "getattr in a loop": (named_layers, {"layer1": conv(), "layer2": conv(groups=2)}),
        "dense blocks": (
            lambda n, x: n.head(pooled(n.blocks(x))),
            {"blocks": nn.Sequential(Dense(8), Dense(12)), "head": nn.Linear(16, 4)},
        ),
        "sequences in sequences": (
            loop,
            {"blocks": [nn.Sequential(nn.Sequential(conv(), nn.BatchNorm2d(8)), nn.ReLU6()), nn.Identity()]},
        ),
    }
    for name, shortcut in (("pad", option_a), ("mul(0)", option_a_by_pool), ("zeros", option_a_by_zeros)):
        body = {"block": Block(shortcut), "head": nn.Linear(16, 4)}
        makers[f"shortcut of option A by {name}"] = (lambda n, x: n.head(pooled(n.block(x))), body)
    for name, (body, layers) in makers.items():
        layers = {key: nn.ModuleList(value) if isinstance(value, list) else value for key, value in layers.items()}
        yield name, Network(body, **layers)
