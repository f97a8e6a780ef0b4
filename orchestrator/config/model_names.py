"""How a configuration names a network, and which options it takes; no network is built or imported here."""

import re
from typing import Any

from moda_core.models import MODEL_OPTIONS
from orchestrator.errors import ConfigError

TORCHVISION = "torchvision:"
IMPORT_PATH = re.compile(r"[a-z_]\w*(\.[a-z_]\w*)*:[a-z_]\w*", re.ASCII | re.IGNORECASE)
GIVEN = ("in_channels", "image_size", "num_classes")  # by the data


def check_model_name(name: Any) -> None:
    """Refuse a value that cannot name a network. Nothing is imported.

    Raises:
        ConfigError: neither a known name nor one of the two forms.
    """
    if not (isinstance(name, str) and (name in MODEL_OPTIONS or IMPORT_PATH.fullmatch(name))):
        raise ConfigError(
            f"model.name={name!r} is not known; known: {', '.join(sorted(MODEL_OPTIONS))}; or torchvision:<name> for"
            " one of torchvision.models, or package.module:Name for a class or function of your own"
        )


def is_own_model(name: str) -> bool:
    """Return whether a name is the import path of a user's own network."""
    return name not in MODEL_OPTIONS and not name.startswith(TORCHVISION)


def model_options(name: str) -> list[str] | None:
    """The builder's own keywords; None where only the builder itself can tell."""
    return list(MODEL_OPTIONS[name]) if name in MODEL_OPTIONS else None
