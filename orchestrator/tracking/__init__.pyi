from .artifacts import API_SECONDS, TYPE, ArtifactSource, ModuleArtifact, one_line, point_alias
from .login import has_key, quieten
from .wandb_tracker import (
    FINISH_SECONDS,
    describe_tracking,
    make_tracker,
    recorded_address,
    share_mode,
    tracking_mode,
)

__all__ = [
    "API_SECONDS",
    "FINISH_SECONDS",
    "TYPE",
    "ArtifactSource",
    "ModuleArtifact",
    "describe_tracking",
    "has_key",
    "make_tracker",
    "one_line",
    "point_alias",
    "quieten",
    "recorded_address",
    "share_mode",
    "tracking_mode",
]
