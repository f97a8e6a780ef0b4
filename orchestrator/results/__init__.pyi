from .confirmation import Confirmation, confirmations, without_seed
from .courses import Course, read_courses
from .points import POINT_NAME, Point, TrialState
from .records import (
    as_column,
    canonical,
    claim_sweep,
    coefficient_column,
    coefficient_columns,
    history,
    name_sweep,
    package_versions,
    read_sweep,
    trial_event,
    trial_states,
    utc_now,
)
from .sql import query
from .sweep import ROLES, Sweep, by_label
from .tracker import Artifact, Link, NoTracker, Rows, Tracker

__all__ = [
    "POINT_NAME",
    "ROLES",
    "Artifact",
    "Confirmation",
    "Course",
    "Link",
    "NoTracker",
    "Point",
    "Rows",
    "Sweep",
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
    "name_sweep",
    "package_versions",
    "query",
    "read_courses",
    "read_sweep",
    "trial_event",
    "trial_states",
    "utc_now",
    "without_seed",
]
