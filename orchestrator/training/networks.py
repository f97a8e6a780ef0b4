"""Which network a configuration names: one of moda_core's, a classifier of torchvision, or a user's own by import path.

An import path may come from a table that somebody else wrote (``moda pull`` builds the recorded network), so what it
names is called only where it declares itself a builder: a class of networks, or a function that takes ``in_channels``,
``image_size`` and ``num_classes`` by name. A class is given those of them that it takes, and must fit the data as it is
where it takes none. Module sets need none of this: they carry their graph.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from moda_core.errors import listed
from moda_core.models import MODELS, build_model
from moda_core.modes import evaluating
from orchestrator.config import GIVEN, TORCHVISION, check_model_name
from orchestrator.errors import ConfigError
from orchestrator.training.data import torchvision_models
from orchestrator.training.importing import error_text, import_named


def make_model(
    name: str, options: Mapping[str, Any], *, in_channels: int, image_size: int, num_classes: int
) -> nn.Module:
    """Build the network called ``name`` for square images of ``in_channels x image_size x image_size``.

    Args:
        name: a key of ``moda_core.models.MODELS``; ``torchvision:<name>`` for an image classifier of
            ``torchvision.models``, untrained; or ``package.module:Name`` for a class or function that can be imported
            here and wherever trials run.
        options: the builder's own keywords.
        in_channels: channels of the image. torchvision's first convolution is replaced where it is not 3.
        image_size: its height and width.
        num_classes: number of logits.

    Raises:
        ConfigError: an unknown name or option, a path that cannot be imported, what is not a network, or a network that
            does not give (B, num_classes) logits for such images.
    """
    check_model_name(name)
    given = dict(zip(GIVEN, (in_channels, image_size, num_classes), strict=True))
    if name in MODELS:
        try:
            return build_model(name, in_channels=in_channels, image_size=image_size, num_classes=num_classes, **options)
        except ValueError as error:  # of its options
            raise ConfigError(str(error)) from error
    make = _torchvision_model if name.startswith(TORCHVISION) else _imported_model
    network = make(name, given, options)
    _check_logits(name, network, **given)
    return network


def _torchvision_model(name: str, given: Mapping[str, int], options: Mapping[str, Any]) -> nn.Module:
    models = torchvision_models()
    short = name.removeprefix(TORCHVISION)
    classifiers = models.list_models(module=models)
    if short not in classifiers:
        why = "does not classify images" if short in models.list_models() else "is not known"
        close = difflib.get_close_matches(short, classifiers, n=4, cutoff=0.5) or []
        raise ConfigError(
            f"model.name={name!r} {why}; among torchvision's classifiers: {', '.join(close) or listed(classifiers)}"
        )
    fixed = {"weights": None, "num_classes": given["num_classes"], **_by_family(short, given["image_size"])}
    if taken := sorted((set(fixed) | set(GIVEN)) & set(options)):
        raise ConfigError(f"model.{taken[0]} is set for you with model.name={name}: leave it out")
    network = _called(name, models.get_model_builder(short), {**fixed, **options}, given)
    _set_in_channels(network, given["in_channels"])
    return network


def _by_family(short: str, image_size: int) -> dict[str, Any]:
    """What some of torchvision's builders need besides: one output instead of three, or the size of the image."""
    if short in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    if short.startswith("vit_"):
        return {"image_size": image_size}
    return {"input_size": (image_size, image_size)} if short.startswith("maxvit_") else {}


def _set_in_channels(network: nn.Module, in_channels: int) -> None:
    """Replace the first convolution by one for ``in_channels``, initialised as the model's own: what it gives has the
    same variance."""
    path, old = next((path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d))
    if old.in_channels == in_channels:
        return
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        dilation=old.dilation,  # type: ignore[arg-type]
        groups=old.groups,
        bias=old.bias is not None,
        padding_mode=old.padding_mode,
    )
    scale = (old.in_channels / in_channels) ** 0.5
    nn.init.normal_(new.weight, std=float(old.weight.detach().std()) * scale)
    if old.bias is not None and new.bias is not None:
        new.bias = old.bias
    network.set_submodule(path, new)


def _imported_model(name: str, given: Mapping[str, int], options: Mapping[str, Any]) -> nn.Module:
    if taken := sorted(set(GIVEN) & set(options)):
        raise ConfigError(f"model.{taken[0]} comes from the data: leave it out")
    builder = _import_builder(name)
    known = inspect.signature(builder).parameters
    takes_any = any(parameter.kind == inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    taken_by_name = {key: value for key, value in given.items() if takes_any or key in known}
    return _called(name, builder, {**taken_by_name, **options}, given)


def _import_builder(name: str) -> Callable[..., Any]:
    """The class or function of an import path, if it is a builder."""
    module_name, _, attribute = name.partition(":")
    if module_name.partition(".")[0] == "torchvision":
        raise ConfigError(f"model.name={name!r}: write {TORCHVISION}{attribute} for one of torchvision.models")
    builder: Callable[..., Any] = import_named("model.name", name)
    if not (inspect.isfunction(builder) or (inspect.isclass(builder) and issubclass(builder, nn.Module))):
        raise ConfigError(
            f"model.name={name!r} is neither a subclass of torch.nn.Module nor a function that returns one;"
            f" {_function_text(name)}"
        )
    missing = [key for key in GIVEN if key not in inspect.signature(builder).parameters]
    if missing and not inspect.isclass(builder):
        raise ConfigError(f"model.name={name!r} must take {', '.join(GIVEN)} by name; it does not name {missing}")
    return builder


def _function_text(name: str) -> str:
    """What to write beside a network that cannot be built as it stands."""
    module_name, _, attribute = name.partition(":")
    return (
        f"write a function beside it, def make({', '.join(GIVEN)}): return {attribute}(...), and name that:"
        f" model.name={module_name}:make"
    )


def _called(name: str, builder: Callable[..., Any], keywords: Mapping[str, Any], given: Mapping[str, int]) -> nn.Module:
    try:
        inspect.signature(builder).bind(**keywords)
    except TypeError as error:
        needed = str(error).startswith("missing")
        remedy = f"; state it, model.<key>=..., or {_function_text(name)}" if needed else ""
        raise ConfigError(f"model {name!r} does not take these options: {error}{remedy}") from error
    try:
        network = builder(**keywords)
    except (Exception, SystemExit) as error:  # of somebody else's code
        raise ConfigError(
            f"model {name!r} cannot be built for {_size(**given)}: {error_text(error)};"
            f" keys under model besides name: {', '.join(sorted(set(keywords) - set(given))) or 'none'}"
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"model.name={name!r} gives a {type(network).__name__}; it must give a torch.nn.Module")
    return network


def _check_logits(name: str, network: nn.Module, *, in_channels: int, image_size: int, num_classes: int) -> None:
    """Two blank images through the network: what is too small for it fails here and not in a trial."""
    size = _size(in_channels, image_size, num_classes)
    try:
        with evaluating(network):
            logits = network(torch.zeros(2, in_channels, image_size, image_size))
    except (Exception, SystemExit) as error:  # of somebody else's code
        raise ConfigError(
            f"model {name!r} cannot take {size}: {error_text(error)}; use larger images (data.resize with data=table)"
            f" or another model{_own_text(name)}"
        ) from error
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (2, num_classes):
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ConfigError(
            f"model {name!r} gives {found} for 2 of {size}; it must give logits of (2, {num_classes}){_own_text(name)}"
        )


def _own_text(name: str) -> str:
    """What helps a class of a user's own that does not take all that follows from the data."""
    if ":" not in name or name.startswith(TORCHVISION):
        return ""
    missing = [key for key in GIVEN if key not in inspect.signature(_import_builder(name)).parameters]
    return f"; its constructor does not take {', '.join(missing)}: {_function_text(name)}" if missing else ""


def _size(in_channels: int, image_size: int, num_classes: int) -> str:
    return f"images of {in_channels} x {image_size} x {image_size} and {num_classes} classes"
