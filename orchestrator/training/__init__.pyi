from .after import AFTER_CHECKPOINT
from .batches import Workers
from .decompose import choice_masks
from .dry_run import distinct
from .fingerprinting import check_unchanged, fingerprints
from .loaded import loaded_lines
from .loop import choose_device
from .methods import make_method, with_method_defaults
from .own_metrics import Measured, OwnMetric, with_own_metrics
from .trial import (
    CHECKPOINT,
    CONTRIBUTIONS,
    FREQUENCIES,
    METHOD_PARTS,
    WEIGHTS,
    Report,
    Trial,
    check_trainable,
    check_weights,
    load_trained,
    measure_on_test,
    run_trial,
    trial_file,
)

__all__ = [
    "AFTER_CHECKPOINT",
    "CHECKPOINT",
    "CONTRIBUTIONS",
    "FREQUENCIES",
    "METHOD_PARTS",
    "WEIGHTS",
    "Measured",
    "OwnMetric",
    "Report",
    "Trial",
    "Workers",
    "check_trainable",
    "check_unchanged",
    "check_weights",
    "choice_masks",
    "choose_device",
    "distinct",
    "fingerprints",
    "load_trained",
    "loaded_lines",
    "make_method",
    "measure_on_test",
    "run_trial",
    "trial_file",
    "with_method_defaults",
    "with_own_metrics",
]
