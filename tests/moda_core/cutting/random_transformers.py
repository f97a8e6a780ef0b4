"""Small random Transformers in the forms in which public files write them."""

import random

import torch
from torch import nn
from torch.nn import functional as F

from tests.moda_core.conftest import randomise

ACTIVATIONS = [nn.GELU, lambda: nn.GELU("tanh"), nn.ReLU, nn.SiLU]


class Separate(nn.Module):
    """Linear layers for queries, keys and values, and the fused function."""

    def __init__(self, width, heads, bias):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width, bias=bias) for _ in range(3))
        self.out = nn.Linear(width, width, bias=bias)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x):
        parts = [self.split(layer(x)) for layer in (self.query, self.key, self.value)]
        return self.out(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class Together(nn.Module):
    """One linear layer for all three, as in timm, with a scale of its own."""

    def __init__(self, width, heads, bias):
        super().__init__()
        self.heads, self.scale = heads, 0.7
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v, scale=self.scale, dropout_p=0.0)
        return self.drop(self.proj(x.transpose(1, 2).reshape(b, n, c)))


class Scaled(Together):
    """The same before there was a function for it: queries are scaled first."""

    def __init__(self, width, heads, bias):
        super().__init__(width, heads, bias)
        self.attn_drop = nn.Dropout(0.0)

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0] * self.scale, qkv[1], qkv[2]
        attn = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((self.attn_drop(attn) @ v).transpose(1, 2).reshape(b, n, c))


class Plain(Separate):
    """As in Hugging Face's transformers."""

    def __init__(self, width, heads, bias):
        super().__init__(width, heads, bias)
        self.size = width // heads
        self.dropout = nn.Dropout(0.0)

    def split(self, x):
        return x.view(*x.size()[:-1], self.heads, self.size).permute(0, 2, 1, 3)

    def forward(self, x):
        key, value, query = (self.split(layer(x)) for layer in (self.key, self.value, self.query))
        scores = torch.matmul(query, key.transpose(-1, -2)) / self.size**0.5
        probabilities = self.dropout(nn.functional.softmax(scores, dim=-1))
        context = torch.matmul(probabilities, value).permute(0, 2, 1, 3).contiguous()
        return self.out(context.view(*context.size()[:-2], self.heads * self.size))


class Eager(Plain):
    """As in newer versions of it: weights in float32, and dropout as a function."""

    def forward(self, x):
        query, key, value = (self.split(layer(x)) for layer in (self.query, self.key, self.value))
        weights = torch.matmul(query, key.transpose(-1, -2)) * self.size**-0.5
        weights = nn.functional.softmax(weights, dim=-1, dtype=torch.float64).to(query.dtype)
        weights = nn.functional.dropout(weights, p=0.0, training=self.training)
        context = torch.matmul(weights, value).transpose(1, 2).contiguous()
        return self.out(nn.functional.dropout(context.reshape(*x.size()), p=0.0, training=self.training))


class Module(nn.Module):
    """PyTorch's own, as in torchvision."""

    def __init__(self, width, heads, bias):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, bias=bias, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


ATTENTIONS = [Separate, Together, Scaled, Plain, Eager, Module]


class Block(nn.Module):
    def __init__(self, pick, width, heads, form):
        super().__init__()
        norm = {"eps": 1e-6, "elementwise_affine": pick.random() < 0.8}
        self.norm1, self.norm2 = nn.LayerNorm(width, **norm), nn.LayerNorm(width, **norm)
        self.attention = form(width, heads, pick.random() < 0.7)
        hidden = pick.choice([5, 2 * width])
        bias = pick.random() < 0.7
        activation = pick.choice(ACTIVATIONS)()
        self.mlp = nn.Sequential(nn.Linear(width, hidden, bias=bias), activation, nn.Linear(hidden, width, bias=bias))
        self.is_parallel = pick.random() < 0.2
        self.scale = nn.Parameter(torch.ones(width)) if pick.random() < 0.3 else 1.0

    def forward(self, x):
        if self.is_parallel:
            return x + self.attention(self.norm1(x)) + self.mlp(self.norm2(x))
        x = x + self.scale * self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x)) * self.scale


class RandomTransformer(nn.Module):
    """Patches, tokens, blocks and a head, for images of 3 x 6 x 6."""

    def __init__(self, seed, classes=3):
        super().__init__()
        pick = random.Random(seed)
        heads = pick.choice([1, 2, 3])
        width = heads * pick.choice([2, 3])
        patch = pick.choice([2, 3])
        tokens = (6 // patch) ** 2
        self.class_tokens = pick.choice([0, 1, 2])
        self.patches = nn.Conv2d(3, width, patch, patch)
        for place in range(self.class_tokens):
            self.register_parameter(f"token{place}", nn.Parameter(torch.zeros(1, 1, width)))
        positions = torch.zeros(1, tokens + self.class_tokens, width)
        trains = pick.choice([True, False])
        self.positions = nn.Parameter(positions) if trains else nn.Buffer(positions)
        self.has_positions = pick.random() < 0.8
        self.blocks = nn.Sequential(
            *(Block(pick, width, heads, pick.choice(ATTENTIONS)) for _ in range(pick.choice([1, 2, 3])))
        )
        self.norm = nn.LayerNorm(width) if pick.random() < 0.8 else nn.Identity()
        self.head = nn.Linear(width, classes, bias=pick.random() < 0.5)
        self.means = pick.choice(["patches", "all"])

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        tokens = [getattr(self, f"token{place}").expand(x.size(0), -1, -1) for place in range(self.class_tokens)]
        if tokens:
            x = torch.cat((*tokens, x), dim=1)
        if self.has_positions:
            x = x + self.positions
        x = self.norm(self.blocks(x))
        if self.class_tokens == 1:
            return self.head(x[:, 0, :] if self.means == "all" else x[:, 0])
        if self.means == "patches":
            x = x[:, self.class_tokens :]
        return self.head(x.mean(1))


def random_transformer(seed, **options):
    return randomise(RandomTransformer(seed, **options), seed)
