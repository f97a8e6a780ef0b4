from .batches import Workers
from .calibration import with_stored_bias
from .decompose import choose
from .dry_run import distinct
from .fingerprinting import check_unchanged, fingerprints
from .kept_files import KeptFiles
from .loaded import loaded_lines
from .loop import check_device, choose_device
from .methods import make_method
from .own_metrics import Measured, OwnMetric
from .own_parts import with_own_parts
from .stage_costs import stages_lines
from .timing import Timing, time_training
from .trial import (
    Report,
    Trial,
    check_trainable,
    check_weights,
    load_trained,
    measure_on_test,
    network_bytes,
    run_trial,
)

__all__ = [
    "KeptFiles",
    "Measured",
    "OwnMetric",
    "Report",
    "Timing",
    "Trial",
    "Workers",
    "check_device",
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
    "network_bytes",
    "run_trial",
    "stages_lines",
    "time_training",
    "with_own_parts",
    "with_stored_bias",
]
