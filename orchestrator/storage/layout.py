"""Where files lie in a storage: their names are built and read here and nowhere else.

trials/<trial id>/weights.safetensors ...    what a trial keeps besides rows
modules/<set name>/manifest.json ...         published module sets
drivers/<sweep id>/<driver id>               written again and again by the process that runs a sweep
"""

from collections.abc import Collection, Iterable

TRIALS, MODULES, DRIVERS = "trials", "modules", "drivers"

# Of a trial.
WEIGHTS = "weights.safetensors"
METHOD_PARTS = "method.safetensors"  # what a method has of its own beside the weights, if anything
CHECKPOINT, AFTER_CHECKPOINT = "checkpoint.pt", "after.pt"  # in training, and in a method's step after it
_COUNTS = "counts-"
_FIRST_COUNTS = {  # of the first two rules, whose files are called by what they hold
    "activity": "frequencies.safetensors",
    "contribution": "contributions.safetensors",
}


def trial_file(trial_id: str, name: str) -> str:
    """One of a trial's files, from the root on."""
    return f"{trial_folder(trial_id)}/{name}"


def trial_folder(trial_id: str) -> str:
    """A trial's folder, from the root on."""
    return f"{TRIALS}/{trial_id}"


def counts_file(rule: str) -> str:
    """The file, in a trial's folder, with what a rule counted, by the rule's name or import path."""
    return _FIRST_COUNTS.get(rule, f"{_COUNTS}{rule.rpartition(':')[2]}.safetensors")


def is_counts_file(name: str) -> bool:
    """Whether a file in a trial's folder holds what a rule counted."""
    return name.startswith(_COUNTS) or name in _FIRST_COUNTS.values()


def set_name(trial_id: str, choice: Iterable[str]) -> str:
    """A module set's name: its trial, and the words of its choice, such as ``tau0.9``."""
    return "-".join([trial_id, *choice])


def set_folder(name: str) -> str:
    """A module set's folder, from the root on."""
    return f"{MODULES}/{name}"


def set_file(name: str, file: str) -> str:
    """One of a module set's files, from the root on."""
    return f"{set_folder(name)}/{file}"


def heartbeat_file(sweep_id: str, driver_id: str) -> str:
    """The file by which a sweep's driver shows that it works."""
    return f"{DRIVERS}/{sweep_id}/{driver_id}"


def folder_of(name: str) -> tuple[str, str]:
    """What a file belongs to: ``trials`` or ``modules``, and the trial or the set; of a file beside them its name."""
    kind, _, rest = name.partition("/")
    return kind, rest.partition("/")[0]


def is_set_of(name: str, trial_ids: Collection[str]) -> bool:
    """Whether a module set's name is of one of some trials: it goes on with a hyphen and the choice."""
    ends = [index for index, letter in enumerate(name) if letter == "-"]
    return any(name[:end] in trial_ids for end in ends)
