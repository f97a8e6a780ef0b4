from .compared import Compared
from .confirmation import CERTAIN, Confirmation, Held, confirmations, without_seed
from .courses import Course, read_courses
from .followed import FollowedSweep
from .kept_units import KeptUnits, read_kept_units
from .origin import Origin, read_origin
from .per_class import ClassResults, SweepClasses, read_classes
from .points import POINT_NAME, Point, TrialState
from .records import (
    as_column,
    canonical,
    claim_sweep,
    coefficient_column,
    coefficient_columns,
    history,
    name_sweep,
    own_version,
    package_versions,
    read_sweep,
    trial_event,
    trial_states,
    utc_now,
)
from .reference_point import BaselineReference, is_standard, record_reference, recorded_reference
from .sql import query
from .sweep import NO_HYPERVOLUME, ROLES, Sweep, by_label
from .sweep_comparison import SweepComparison
from .tracker import Artifact, Link, NoTracker, Rows, Tracker

__all__ = [
    "CERTAIN",
    "NO_HYPERVOLUME",
    "POINT_NAME",
    "ROLES",
    "Artifact",
    "BaselineReference",
    "ClassResults",
    "Compared",
    "Confirmation",
    "Course",
    "FollowedSweep",
    "Held",
    "KeptUnits",
    "Link",
    "NoTracker",
    "Origin",
    "Point",
    "Rows",
    "Sweep",
    "SweepClasses",
    "SweepComparison",
    "Tracker",
    "TrialState",
    "as_column",
    "by_label",
    "canonical",
    "claim_sweep",
    "coefficient_column",
    "coefficient_columns",
    "confirmations",
    "history",
    "is_standard",
    "name_sweep",
    "own_version",
    "package_versions",
    "query",
    "read_classes",
    "read_courses",
    "read_kept_units",
    "read_origin",
    "read_sweep",
    "record_reference",
    "recorded_reference",
    "trial_event",
    "trial_states",
    "utc_now",
    "without_seed",
]
