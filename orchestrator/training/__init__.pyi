from .batches import Workers
from .decompose import choice_masks
from .dry_run import distinct
from .fingerprinting import check_unchanged, fingerprints
from .loaded import loaded_lines
from .loop import choose_device
from .own_metrics import Measured, OwnMetric, with_own_metrics
from .trial import (
    CHECKPOINT,
    CONTRIBUTIONS,
    FREQUENCIES,
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
    "CHECKPOINT",
    "CONTRIBUTIONS",
    "FREQUENCIES",
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
    "measure_on_test",
    "run_trial",
    "trial_file",
    "with_own_metrics",
]
