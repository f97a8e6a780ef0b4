from .api import (
    OpenConfirmation,
    OpenPoint,
    OpenSweep,
    confirm,
    open_sweep,
    pull,
    query,
    sweep,
    sweeps,
    train,
)
from .errors import ConfigError, ServiceError, StorageError, UserError

__version__: str

__all__ = [
    "ConfigError",
    "OpenConfirmation",
    "OpenPoint",
    "OpenSweep",
    "ServiceError",
    "StorageError",
    "UserError",
    "confirm",
    "open_sweep",
    "pull",
    "query",
    "sweep",
    "sweeps",
    "train",
]
