"""What a configuration leaves to the user's own method, rules and metrics, filled in before anything is trained."""

from orchestrator.config import Config
from orchestrator.training.methods import with_method_defaults
from orchestrator.training.own_metrics import with_own_metrics
from orchestrator.training.own_rules import with_own_rules


def with_own_parts(config: Config) -> Config:
    """Return the configuration with what its own method, rules and metrics say of themselves, so that what is recorded
    is complete. A configuration that is complete stays as it is.

    Raises:
        ConfigError: an import path that does not lead to such a part, or values that it does not take.
    """
    return with_own_metrics(with_own_rules(with_method_defaults(config)))
