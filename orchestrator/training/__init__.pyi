from .batches import Workers
from .decompose import choose
from .dry_run import distinct
from .fingerprinting import check_unchanged, fingerprints
from .loaded import loaded_lines
from .loop import choose_device
from .methods import make_method, with_method_defaults
from .own_metrics import Measured, OwnMetric, with_own_metrics
from .own_rules import with_own_rules
from .trial import (
    Report,
    Trial,
    check_trainable,
    check_weights,
    load_trained,
    measure_on_test,
    run_trial,
)

__all__ = [
    "Measured",
    "OwnMetric",
    "Report",
    "Trial",
    "Workers",
    "check_trainable",
    "check_unchanged",
    "check_weights",
    "choose",
    "choose_device",
    "distinct",
    "fingerprints",
    "load_trained",
    "loaded_lines",
    "make_method",
    "measure_on_test",
    "run_trial",
    "with_method_defaults",
    "with_own_metrics",
    "with_own_rules",
]
