"""What a command was asked for by its overrides."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.config import Config, compose_config, named_storage, parse_config


@dataclass(frozen=True)
class Asked:
    """The overrides of a command, and the configuration that they make, which is composed when it is first needed."""

    overrides: tuple[str, ...]

    def check(self) -> None:
        """Refuse wrong overrides before anything is done.

        Raises:
            ConfigError: anything that is wrong, in one line.
        """
        if named_storage(self.overrides) is None:
            parse_config(self.plain)

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The configuration as plain data."""
        return compose_config(self.overrides)

    @cached_property
    def config(self) -> Config:
        """The configuration."""
        return parse_config(self.plain)

    @cached_property
    def storage(self) -> str:
        """The storage, which is all that a command needs that looks at results."""
        return named_storage(self.overrides) or self.config.storage
