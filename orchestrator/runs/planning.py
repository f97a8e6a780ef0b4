"""What a sweep would do: how many trainings, how long, and how much it writes. Nothing is trained or recorded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from moda_core.methods import has_step_after
from orchestrator.config import Config, check_space
from orchestrator.results import name_sweep
from orchestrator.runs.address import cluster_address
from orchestrator.runs.capacity import Node, held_trials, nodes_of_cluster
from orchestrator.runs.cluster import connected
from orchestrator.runs.corners import tried_corners
from orchestrator.runs.proposals import Proposals
from orchestrator.storage import DeltaStore, Files
from orchestrator.training import (
    Timing,
    fingerprints,
    make_method,
    time_training,
    with_own_parts,
)
from orchestrator.training.data import load_data

ROW_BYTES = 600  # of a point in the tables, about


@dataclass(frozen=True)
class Plan:
    """What a sweep would do.

    Attributes:
        sweep_id: its name.
        trials: that it has when it is over.
        over: of these, those that are over already.
        baselines: of those that are not proposed yet, the coefficients that come first whatever is found.
        at_once: how many would be trained at once.
        timing: of one training.
        has_step_after: whether its method has a step after training, which is not timed.
        choices: points of each trial.
        uploads: whether results go to W&B while it runs.
        storage: where results go.
        data: what it is trained on, in lines.
    """

    sweep_id: str
    trials: int
    over: int
    baselines: int
    at_once: int
    timing: Timing
    has_step_after: bool
    choices: int
    uploads: bool
    storage: str
    data: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Trainings that would be started."""
        return self.trials - self.over

    @property
    def seconds(self) -> float:
        """The time of all missing trainings, as many at once as fit, and of measuring the front on test."""
        rounds = -(-self.missing // max(1, self.at_once))
        return rounds * self.timing.seconds + (self.timing.after_seconds if self.missing else 0.0)

    @property
    def kept_bytes(self) -> int:
        """What the missing trials leave in the storage."""
        return self.missing * (self.timing.kept_bytes + self.choices * ROW_BYTES)

    @property
    def running_bytes(self) -> int:
        """Checkpoints of the trials that run at once."""
        return min(self.at_once, self.missing) * self.timing.checkpoint_bytes

    @property
    def upload_bytes(self) -> int:
        """The module sets of best and knee at most; nothing without W&B."""
        return 2 * self.timing.weights_bytes if self.uploads and self.missing else 0


def plan_sweep(config: Config) -> Plan:
    """Return what a sweep would do.

    Everything is checked as :func:`orchestrator.runs.run_sweep` checks it, data is loaded, and a few steps are trained.

    Raises:
        ConfigError: what the sweep would refuse too.
    """
    from orchestrator.tracking import has_key, tracking_mode

    config = with_own_parts(config)
    check_space(config)
    root = Files(config.storage).root
    data = load_data(config.data)
    tried = tried_corners(config, data)
    prints, store = fingerprints(config, data), DeltaStore(root)
    sweep_id = name_sweep(store, config, prefix=config.data.name.replace("_", "-"), fingerprints=prints)
    proposals = Proposals(config, sweep_id, store, prints)
    baselines = len(config.search.baselines) * config.search.repeats
    longest = max(tried, key=lambda each: each.training.epochs)
    is_tracked = config.tracking.name == "wandb"
    return Plan(
        sweep_id=sweep_id,
        trials=proposals.budget,
        over=proposals.budget - proposals.missing,
        baselines=max(0, min(baselines, proposals.budget) - proposals.next_number),
        at_once=held_trials(config, _nodes()) or 1,
        timing=time_training(longest, data),
        has_step_after=any(has_step_after(make_method(each.method)) for each in tried),
        choices=sum(math.prod(map(len, grid.values())) for grid in config.evaluation.grids.values()),
        uploads=is_tracked and tracking_mode() == "online" and has_key(),
        storage=root,
        data=data.summary,
    )


def _nodes() -> Sequence[Node]:
    """The nodes of the cluster, or this machine as a Ray of its own would count it."""
    if cluster_address() is not None:
        with connected():
            return nodes_of_cluster()
    import torch
    from ray._private.utils import get_num_cpus

    amounts = {"CPU": float(get_num_cpus()), "GPU": float(torch.cuda.device_count())}
    return [Node("this machine", amounts, amounts)]
