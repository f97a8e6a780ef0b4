"""Transformers from weights for images of another size, or for other classes."""

import pytest
import torch
from torch.nn import functional as F

from moda_core import build_model
from orchestrator.errors import ConfigError
from orchestrator.training.data import torchvision_models
from orchestrator.training.weights import load_weights_file

SIZES = {"patch_size": 4, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}


def torchvision_vit(image_size, num_classes, seed):
    torch.manual_seed(seed)
    return torchvision_models().VisionTransformer(image_size=image_size, num_classes=num_classes, **SIZES)


def own_vit(image_size, num_classes, seed):
    torch.manual_seed(seed)
    sizes = {"width": 8, "depth": 2, "heads": 2, "patch": 4}
    return build_model("deit_small", in_channels=3, image_size=image_size, num_classes=num_classes, **sizes)


def trained(build, tmp_path):
    """Weights of a few steps, in a file."""
    network = build(12, 3, seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    images, labels = torch.randn(16, 3, 12, 12), torch.arange(16) % 3
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    torch.save(network.state_dict(), tmp_path / "trained.pt")
    return network.state_dict(), str(tmp_path / "trained.pt")


def test_weights_of_torchvision_for_larger_images_and_other_classes(tmp_path):
    state, path = trained(torchvision_vit, tmp_path)
    network = torchvision_vit(24, 5, seed=1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    taken = load_weights_file(path, network, key="training.init_from", may_resize=True)
    assert taken == "encoder.pos_embedding resized, heads.head.weight drawn anew, heads.head.bias drawn anew"
    models = torchvision_models()
    expected = models.vision_transformer.interpolate_embeddings(24, 4, dict(state))
    for name, tensor in network.state_dict().items():
        wanted = before[name] if name.startswith("heads") else expected[name]
        torch.testing.assert_close(tensor, wanted)


@pytest.mark.parametrize("build", [torchvision_vit, own_vit])
def test_smaller_images_of_the_same_classes(build, tmp_path):
    state, path = trained(build, tmp_path)
    network = build(8, 3, seed=1)
    load_weights_file(path, network, key="training.init_from", may_resize=True)
    loaded = network.state_dict()
    name = next(name for name in state if state[name].shape != loaded[name].shape)
    class_tokens = 1 if build is torchvision_vit else 2
    assert torch.equal(loaded[name][:, :class_tokens], state[name][:, :class_tokens])
    corners = state[name][:, class_tokens:].unflatten(1, (3, 3))[:, ::2, ::2].flatten(1, 2)
    torch.testing.assert_close(loaded[name][:, class_tokens:], corners)
    assert all(torch.equal(tensor, state[other]) for other, tensor in loaded.items() if other != name)


@pytest.mark.parametrize(("image_size", "classes", "name"), [(24, 3, "positions"), (12, 5, "heads.0.weight")])
def test_what_is_not_trained_on_must_fit(image_size, classes, name, tmp_path):
    _, path = trained(own_vit, tmp_path)
    with pytest.raises(ConfigError, match=rf"{name} is \(.*; give the model, data and classes"):
        load_weights_file(path, own_vit(image_size, classes, seed=1), key="training.init_from")


def test_another_width_is_refused(tmp_path):
    _, path = trained(own_vit, tmp_path)
    other = build_model("deit_small", in_channels=3, image_size=24, num_classes=3, width=16, depth=2, heads=2, patch=4)
    with pytest.raises(ConfigError, match=r"is \(.*; give the model"):
        load_weights_file(path, other, key="training.init_from", may_resize=True)
