"""Makes a cluster's autoscaler start nodes for trials that have not begun: nothing else shows that they wait.

Tune is given no more trials than the nodes hold, since a proposal is better the later it is made. Ray's
``request_resources`` is not used: it outlives a driver that is killed, and each caller overwrites the one before.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from ray.util import placement_group, placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

from orchestrator.runs.capacity import held_trials, nodes_of_cluster, worker_needs
from orchestrator.runs.proposals import Proposals

NAME = "moda-growth-"  # what names of groups begin with
AT_ONCE = 8  # trials for which nodes are asked for, or as many again as the cluster holds
LOOK_SECONDS = 2.0  # between looks at the cluster


class Growth(Callback):
    """Placement groups that wait for nodes which are not there yet, as a Tune callback: demand, as an autoscaler sees
    it.

    They never stand in the way of a trial: there are none while there is room or a trial waits for its place, and when
    one of them gets a place, all are removed. On a cluster without an autoscaler they wait and hold nothing. All end
    with the driver.

    Args:
        proposals: of the sweep.
        clock: seconds.
    """

    def __init__(self, proposals: Proposals, clock: Callable[[], float] = time.monotonic) -> None:
        training = proposals.config.training
        self._proposals, self._clock, self._looked = proposals, clock, float("-inf")
        self._bundles = [_positive(worker_needs(training))] * training.num_workers
        self._groups: list[PlacementGroup] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that is never made."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Ask, every two seconds, for room for the trials that may run at once and that the cluster does not hold."""
        if self._clock() - self._looked < LOOK_SECONDS:
            return
        self._looked = self._clock()
        config, left, nodes = self._proposals.config, self._proposals.left, nodes_of_cluster()
        held = held_trials(config, nodes)
        missing = min(left, config.sweep.concurrency or left) - held
        has_room = held_trials(config, nodes, free=True) > 0  # for trials that are about to take it
        self._ask_for(0 if has_room or self._is_in_the_way() else max(0, min(missing, max(held, AT_ONCE))))

    def on_experiment_end(self, trials: list[TuneTrial], **info: Any) -> None:
        """Ask for no more nodes."""
        self._ask_for(0)

    def _is_in_the_way(self) -> bool:
        """Whether a group has got a place, or a trial waits for one."""
        own = {group.id.hex() for group in self._groups}
        for group in placement_group_table().values():
            needs = [_positive(amounts) for amounts in group["bundles"].values()]
            if group["placement_group_id"] in own:
                in_the_way = group["state"] == "CREATED"
            else:
                in_the_way = (
                    group["state"] == "PENDING" and not group["name"].startswith(NAME) and needs == self._bundles
                )
            if in_the_way:
                return True
        return False

    def _ask_for(self, count: int) -> None:
        while len(self._groups) > count:
            remove_placement_group(self._groups.pop())
        while len(self._groups) < count:
            self._groups.append(placement_group(self._bundles, name=f"{NAME}{uuid.uuid4().hex}"))


def _positive(needs: Mapping[str, float]) -> dict[str, float]:
    return {kind: amount for kind, amount in needs.items() if amount > 0}
