"""A sweep: what is missing is trained, and the front measured on test.

The searcher's state is a function of the tables, so resuming is reading: a fresh Tune run is given the trials that
were in flight (same id, coefficients and checkpoint) and then new proposals up to the budget. A proposal is written
before its trial starts.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import ray
from ray.exceptions import RayTaskError

from orchestrator.config import Choice, Config, check_space
from orchestrator.errors import MISTAKES, RunError
from orchestrator.results import ROLES, Point, Sweep, claim_sweep, name_sweep, read_sweep, utc_now
from orchestrator.runs.capacity import held_trials, nodes_of_cluster
from orchestrator.runs.cluster import check_cluster, concurrent_trials, connected
from orchestrator.runs.corners import tried_corners
from orchestrator.runs.lease import Lease, only_driver
from orchestrator.runs.proposals import Proposals
from orchestrator.runs.shared_storage import SharedStorage
from orchestrator.runs.tuning import run_trials
from orchestrator.storage import WEIGHTS, DeltaStore, Files, trial_file, usable_root
from orchestrator.training import (
    Trial,
    check_unchanged,
    fingerprints,
    loaded_lines,
    measure_on_test,
    network_bytes,
    stages_lines,
    with_own_parts,
)
from orchestrator.training.data import Data, load_data
from orchestrator.views import Progress


def front_of(sweep: Sweep) -> list[Point]:
    """Return the points of a sweep that are measured on the test images."""
    return sweep.front


def run_sweep(config: Config, progress: Progress, *, reported: Callable[[Sweep], list[Point]] = front_of) -> Sweep:
    """Run a sweep, or resume it, and return it as its tables record it.

    Args:
        config: of the sweep.
        progress: what a person sees of it.
        reported: which of its points are measured on test when all is trained.

    Raises:
        ConfigError: a configuration, data set or cluster that cannot work, before anything is trained.
        ServiceError: a cluster that does not answer.
        RunError: trials that are not over at the end, or a storage that not all nodes share.
    """
    try:
        return _run_sweep(config, progress, reported)
    finally:
        progress.close()


def _run_sweep(config: Config, progress: Progress, reported: Callable[[Sweep], list[Point]]) -> Sweep:
    config = with_own_parts(config)
    check_space(config)
    check_cluster()
    root = usable_root(config.storage)
    config = dataclasses.replace(config, storage=root)
    progress.prepare(f"loading {config.data.name}")
    data = load_data(config.data)
    for line in data.summary:
        progress.say(line)
    progress.prepare(f"trying {config.model.name} on a few images")
    tried = tried_corners(config, data)
    store = DeltaStore(root)
    prefix = config.data.name.replace("_", "-")
    prints = fingerprints(config, data)
    proposals = Proposals(config, name_sweep(store, config, prefix=prefix, fingerprints=prints), store, prints)
    _check_earlier(config, data, store)
    if _is_done(proposals, reported):
        progress.begin(config, 0, proposals.front, budget=proposals.budget)
    else:
        with only_driver(root, proposals.sweep_id, progress.say) as lease:
            proposals = Proposals(config, proposals.sweep_id, store, prints)  # as the driver before has left it
            if proposals.missing:
                for line in dict.fromkeys(line for corner in tried for line in stages_lines(corner, data.num_classes)):
                    progress.say(line)
            claim = functools.partial(claim_sweep, store, config, prefix=prefix, fingerprints=prints)
            _run_missing(proposals, claim, data, tried, lease, progress, reported)
    sweep = proposals.sweep()
    progress.end(sweep)
    if proposals.exhausted:
        progress.say(proposals.exhausted)
    return sweep


def _is_done(proposals: Proposals, reported: Callable[[Sweep], list[Point]]) -> bool:
    return not proposals.missing and all(point.test is not None for point in reported(proposals.sweep()))


def _run_missing(
    proposals: Proposals,
    claim: Callable[..., str],
    data: Data,
    corners: Sequence[Config],
    lease: Lease,
    progress: Progress,
    reported: Callable[[Sweep], list[Point]],
) -> None:
    """Train what is missing on Ray, measure what is reported on test, and show it."""
    config, root = proposals.config, proposals.config.storage
    if config.tracking.name != "none":
        from orchestrator.tracking import share_mode

        share_mode()
    progress.prepare("starting Ray")
    with contextlib.ExitStack() as ending, connected() as may_grow:
        concurrency = held_trials(config, nodes_of_cluster()) if may_grow else concurrent_trials(config)
        claim(now=utc_now())
        proposals.record_reference()  # where a driver died between a trial's end and this
        shared, storage = ray.put(data), SharedStorage.here(root)
        for line in _loaded_lines(corners, shared):
            progress.say(line)
        progress.begin(config, concurrency, proposals.front, budget=proposals.budget)
        ending.enter_context(_shown_in_wandb(proposals, corners, data, progress))  # ends when Ray has
        if proposals.missing:
            try:
                run_trials(proposals, shared, storage, lease, progress, may_grow=may_grow)
            finally:
                progress.close()
        _measure_reported(proposals.sweep(), reported, shared, storage, progress)


def _measure_reported(
    sweep: Sweep,
    reported: Callable[[Sweep], list[Point]],
    data: "ray.ObjectRef[Data]",
    storage: SharedStorage,
    progress: Progress,
) -> None:
    untested = [point for point in reported(sweep) if point.test is None]
    points = [point for point in untested if _can_be_measured(point, storage.root)]
    if gone := len(untested) - len(points):
        progress.say(f"{gone} points cannot be measured on test, because `moda gc` removed their trials' weights")
    if points:
        progress.say(f"measuring {len(points)} points on the test images")
        _measure_on_test(sweep, points, storage, data, progress)


@contextlib.contextmanager
def _shown_in_wandb(proposals: Proposals, corners: Sequence[Config], data: Data, progress: Progress) -> Iterator[None]:
    """Show a sweep in W&B while it runs, and what it has found at its end or when it is interrupted."""
    config, root = proposals.config, proposals.config.storage
    if config.tracking.name == "none":
        yield
        return
    from orchestrator.modules import module_artifacts
    from orchestrator.views import SweepRun

    sets_bytes = len(ROLES) * max(network_bytes(corner, data) for corner in corners)
    run = SweepRun(config, root, proposals.sweep_id, upload_bytes=sets_bytes)
    progress.watch(run.update)
    run.update(proposals.front())
    try:
        yield
    except BaseException as error:
        run.stop("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    else:
        sweep = proposals.sweep()
        run.end(sweep, module_artifacts(sweep, root))
    finally:
        if run.where:
            progress.say(f"W&B: {run.where}")


def _loaded_lines(corners: Sequence[Config], data: "ray.ObjectRef[Data]") -> list[str]:
    """What weights from elsewhere are worth, each line once; where trials run, which may be on a GPU."""
    training = corners[0].training
    if training.init_from is None:
        return []
    task = ray.remote(num_cpus=training.cpus_per_worker, num_gpus=training.gpus_per_worker)(loaded_lines)
    lines: list[list[str]] = ray.get([task.remote(corner, data) for corner in corners])
    return list(dict.fromkeys(line for of_corner in lines for line in of_corner))


def _check_earlier(config: Config, data: Data, store: DeltaStore) -> None:
    """Refuse a warm start or a confirmation of sweeps that were made of something else than what is here now."""
    for name in (*config.search.warm_start, *filter(None, [config.sweep.confirms])):
        sweep = read_sweep(store, name)
        shapes = [(each.data.resize, each.data.channels) for each in (sweep.config, config)]
        # A network has another graph on images of another size.
        network = ("network",) if shapes[0] == shapes[1] else ()
        check_unchanged(sweep, data, sections=("data", "method", *network))


def _can_be_measured(point: Point, root: str) -> bool:
    files = Files(root)
    return all(
        files.exists(trial_file(single.trial.trial_id, WEIGHTS)) for single in point.singles if single.test is None
    )


def _measure_on_test(
    sweep: Sweep, points: Sequence[Point], storage: SharedStorage, data: "ray.ObjectRef[Data]", progress: Progress
) -> None:
    """Test metrics: what is reported, and never seen by the search."""
    training = sweep.config.training

    def measure(trial: Trial, data: Data, choices: list[Choice]) -> None:
        storage.check()
        measure_on_test(trial, data, choices)

    task = ray.remote(num_cpus=training.cpus_per_worker, num_gpus=training.gpus_per_worker)(measure)
    waiting = []
    untested = [single for point in points for single in point.singles if single.test is None]
    for state in sweep.trials:
        choices = [point.choice for point in untested if point.trial.number == state.number]
        if choices:
            config = sweep.config.for_trial(state.number, state.coefficients)
            trial = Trial(sweep.sweep_id, state.number, state.coefficients, config, storage.root)
            waiting.append(task.remote(trial, data, choices))
    total = len(waiting)
    try:
        while waiting:
            done, waiting = ray.wait(waiting)
            ray.get(done)
            progress.show_measured(total - len(waiting), total)
    except RayTaskError as error:
        if isinstance(error.cause, (*MISTAKES, RunError)):
            raise error.cause from error
        raise
