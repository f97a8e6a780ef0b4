"""Training from Python: what ``moda train``, ``moda sweep`` and ``moda confirm`` do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from orchestrator.api.asking import PathText, Sections, asked_config, asked_words, checked_names
from orchestrator.api.opened import OpenSweep
from orchestrator.api.opened_confirmation import OpenConfirmation
from orchestrator.api.recorded import open_recorded
from orchestrator.storage import resolve_root

if TYPE_CHECKING:
    from rich.console import Console


def train(
    *overrides: str, storage: PathText | None = None, console: "Console | None" = None, **sections: Unpack[Sections]
) -> OpenSweep:
    """Train one network, or read a training that has finished. The same call returns the same sweep.

    Args:
        overrides: as on the command line, ``"training.epochs=3"``.
        storage: a folder or a URI; None: as the command line has it (``MODA_STORAGE``, else ``~/moda-results``).
        console: where progress is printed; None: here. ``Console(quiet=True)`` of rich prints nothing.
        sections: the same as mappings, ``training={"epochs": 3}``, or as choices, ``model="vgg16"``. They win.

    Returns:
        A sweep of one trial, whose points are all choices after it.

    Raises:
        ConfigError: anything that cannot work, before training starts; or a training that diverged.
    """
    from orchestrator.runs import train_one

    config = asked_config(asked_words(overrides, sections, storage))
    return OpenSweep(train_one(config, _console(console)), resolve_root(config.storage))


def sweep(
    *overrides: str, storage: PathText | None = None, console: "Console | None" = None, **sections: Unpack[Sections]
) -> OpenSweep:
    """Search the coefficients on Ray: on the cluster of ``RAY_ADDRESS``, or else on this machine. The same call again
    resumes.

    Args:
        overrides: as for :func:`train`, like ``storage``, ``console`` and ``sections``.

    Raises:
        ConfigError: a configuration, data set or cluster that cannot work, before anything is trained.
    """
    from orchestrator.runs import run_sweep
    from orchestrator.views import Progress

    config = asked_config(asked_words(overrides, sections, storage))
    return OpenSweep(run_sweep(config, Progress(_console(console))), resolve_root(config.storage))


def confirm(
    sweep_id: str,
    /,
    *overrides: str,
    points: Sequence[str] = ("front",),
    seeds: int = 3,
    storage: PathText | None = None,
    console: "Console | None" = None,
    **sections: Unpack[Sections],
) -> OpenConfirmation:
    """Train the coefficients of chosen points again with fresh seeds. The same call again resumes.

    Args:
        sweep_id: the sweep's name.
        overrides: on top of the sweep's own configuration, like ``sections``.
        points: ``front``, ``best``, ``knee`` or names of points.
        seeds: fresh trainings of each set of coefficients.
        storage: as for :func:`train`, like ``console``.

    Raises:
        ConfigError: no such sweep or points, or overrides that would make another search of it.
    """
    from orchestrator.runs import Request, confirm

    words = asked_words(overrides, sections, storage)
    # The other overrides are for the recorded configuration.
    config = asked_config([word for word in words if word.startswith(("storage=", "tracking"))])
    parent = open_recorded(config.storage, sweep_id)
    request = Request(checked_names("points", points), seeds, words)
    return OpenConfirmation(confirm(parent.recorded, request, config, _console(console)), parent)


def _console(console: "Console | None") -> "Console":
    from rich.console import Console

    return console or Console()
