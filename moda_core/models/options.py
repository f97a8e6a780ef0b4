"""The options of each network by its name, as data: what checks a configuration loads no PyTorch."""

MODEL_OPTIONS: dict[str, tuple[str, ...]] = {
    "lenet5": ("width",),
    "mobilenet_v1": ("width",),
    "resnet18": ("width",),
    "resnet50": ("width",),
    "vgg": ("widths", "hidden"),
    "vgg16": ("width",),
}
