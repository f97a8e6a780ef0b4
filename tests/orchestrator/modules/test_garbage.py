"""What of a storage is garbage, and what stays."""

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moda_core.sets.manifest import MANIFEST
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.modules.garbage import CHECKPOINTS, PARTS, SETS, TRAINED, collect, remove, survey
from orchestrator.modules.retention import Retention, retentions
from orchestrator.modules.stale_artifacts import is_stale
from orchestrator.results.points import Point, TrialState
from orchestrator.results.records import canonical, claim_sweep, read_sweep
from orchestrator.results.sweep import Sweep
from orchestrator.runs.confirming import Request, chosen_points, confirming
from orchestrator.search import Status
from orchestrator.storage.delta import DeltaStore
from orchestrator.storage.files import Files, StoredFile
from orchestrator.views.garbage import unknown_lines
from tests.orchestrator.results.test_records import event, point

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(minutes=61), NOW - timedelta(minutes=59)


@pytest.fixture
def store(tmp_path):
    return DeltaStore(str(tmp_path))


def add(store, states, points, sweep_id="s"):
    """Trials of a sweep by their last events, and points of them on validation."""
    own = {"sweep_id": sweep_id}
    marks = [{**event(number, state, 1), **own, "trial_id": f"{sweep_id}-{number}"} for number, state in states.items()]
    store.append("trials", marks)
    rows = [{**point(*one), **own, "trial_id": f"{sweep_id}-{one[0]}"} for one in points]
    store.append("points", rows)


def listing(names, modified=YOUNG):
    return [StoredFile(name, 10, modified) for name in names]


def going(garbage):
    return {file.name: one.what for one in garbage.removals for file in one.files}


def look(store, files, log=None):
    known = set(store.read("trials")["trial_id"].to_pylist())
    return collect(retentions(store), log or {}, files, known, NOW)


def a_set(name):
    return [f"modules/{name}/{file}" for file in (MANIFEST, "model_card.md", "weights.safetensors")]


def trained(trial_id, *more):
    return [f"trials/{trial_id}/{file}.safetensors" for file in ("weights", "frequencies", "contributions")] + [
        f"trials/{trial_id}/{one}" for one in more
    ]


@pytest.fixture
def sweep(store, configured):
    """Trial 0 is the front at tau 0.5 and 0.9, trial 1 is dominated; 2 diverged, 3 is training, 4 stopped, 5 failed."""
    claim_sweep(store, configured("sweep.name=s"), prefix="x", now=NOW)
    points = [(0, 0.5, 0.99, 0.5), (0, 0.9, 0.98, 0.2), (0, 0.99, 0.1, 0.3), (1, 0.5, 0.97, 0.6), (1, 0.9, 0.9, 0.3)]
    add(store, dict(enumerate(("finished", "finished", "diverged", "started", "stopped", "failed"))), points)
    return read_sweep(store, "s")


def test_what_the_front_asks_for_stays(store, sweep):
    assert [one.label for one in sweep.front] == ["0/0.9/0", "0/0.5/0"]
    stays = [
        *a_set("s-0-tau0.5-threshold0"),
        *a_set("s-0-tau0.9-threshold0"),
        *trained("s-0"),
        *trained("s-3", "checkpoint.pt", "checkpoint.pt.77.part"),
        *trained("s-5", "checkpoint.pt"),
        "trials/s-1/notes.txt",
        "modules/s-3-tau0.5-threshold0/weights.safetensors",
    ]
    goes = {
        **dict.fromkeys(a_set("s-0-tau0.99-threshold0"), SETS),
        **dict.fromkeys(a_set("s-1-tau0.5-threshold0"), SETS),
        **dict.fromkeys(trained("s-1"), TRAINED),
        **dict.fromkeys((f"trials/s-{number}/checkpoint.pt" for number in (0, 1, 2, 4)), CHECKPOINTS),
    }
    garbage = look(store, listing([*stays, *goes], OLD))
    assert going(garbage) == goes
    assert garbage.unknown == {}
    assert {one.sweep_id for one in garbage.removals} == {"s"}


def test_a_set_goes_from_its_manifest_on_and_a_trial_from_its_weights_on(store, sweep):
    garbage = look(store, listing([*a_set("s-1-tau0.5-threshold0"), *trained("s-1")]))
    first = {one.what: one.files[0].base for one in garbage.removals}
    assert first == {SETS: MANIFEST, TRAINED: "weights.safetensors"}


def test_what_was_interrupted_goes_after_an_hour(store, sweep):
    """A set without a manifest may be on its way into the storage, and so may a part of a file."""
    names = [
        "modules/s-0-tau0.5-threshold0/weights.safetensors",  # of a point of the front: another publishing makes it
        "modules/s-1-tau0.5-threshold0/model_card.md",
        "trials/s-0/weights.safetensors.77.part",
    ]
    whole = [*a_set("s-0-tau0.9-threshold0"), "modules/s-0-tau0.9-threshold0/weights.safetensors.77.part"]
    assert going(look(store, listing([*names, *whole], YOUNG))) == {}
    assert going(look(store, listing([*names, *whole], OLD))) == dict.fromkeys([*names, whole[-1]], PARTS)


def test_files_that_nobody_here_wrote_stay(store, sweep):
    foreign = [
        "modules/s-1-tau0.5-threshold0/notes.txt",
        "modules/s-1-tau0.5-threshold0/copy/manifest.json",
        "modules/s-1-tau0.9-threshold0/holiday.part",
        "trials/s-1/backup/weights.safetensors",
        "trials/s-1/holiday.part",
        "modules/holiday.part/film.mp4",
    ]
    mine = [*a_set("s-1-tau0.5-threshold0"), *trained("s-1")]
    garbage = look(store, listing([*foreign, *mine], OLD))
    assert sorted(going(garbage)) == sorted(mine)


def test_a_set_that_was_never_put_in_its_place_goes_after_an_hour(store, sweep):
    part = "modules/.moda-k3_x1.part/whole/weights.safetensors"
    assert going(look(store, listing([part], YOUNG))) == {}
    garbage = look(store, listing([part], OLD))
    assert (going(garbage), garbage.unknown) == ({part: PARTS}, {})


def test_what_is_left_of_a_removal_goes_at_once(store, sweep):
    """The log says that it was whole, and no file is newer than that."""
    name = "s-1-tau0.5-threshold0"
    left = [f"modules/{name}/weights.safetensors"]
    row = {"sweep_id": "s", "name": name, "event": "published", "time": YOUNG}
    garbage = look(store, listing(left), {name: row})
    assert going(garbage) == dict.fromkeys(left, PARTS)
    assert garbage.gone == [row]
    newer = listing(left, YOUNG + timedelta(seconds=1))  # somebody publishes it again
    assert going(look(store, newer, {name: row})) == {}
    assert going(look(store, listing(left), {name: {**row, "event": "removed"}})) == {}


def test_what_is_of_no_known_sweep_is_named_and_stays(store, sweep):
    unknown = [
        "modules/other-0-level0.1/manifest.json",
        "trials/other-0000/checkpoint.pt",
        "trials/README",
        "modules/s",
    ]
    garbage = look(store, listing([*unknown, "trials/s-0/weights.safetensors"], OLD))
    assert going(garbage) == {}
    folders = ["modules/other-0-level0.1", "modules/s", "trials/README", "trials/other-0000"]
    assert list(garbage.unknown) == folders
    assert unknown_lines(garbage.unknown)[0] == (
        "kept, of no known sweep: modules/other-0-level0.1 (1 files, 0.000 MiB)"
    )
    assert unknown_lines({str(number): [] for number in range(12)})[-1] == "and 2 more of no known sweep"


def test_another_sweep_that_was_not_asked_for_is_left_alone(store, sweep, configured):
    claim_sweep(store, configured("sweep.name=s-1"), prefix="x", now=NOW)  # its trials' ids begin like those of s
    add(store, {0: "finished", 1: "finished"}, [(0, 0.5, 0.9, 0.1), (1, 0.5, 0.8, 0.2)], "s-1")
    files = listing([*a_set("s-1-1-tau0.5-threshold0"), *trained("s-1-1"), *a_set("s-1-tau0.5-threshold0")], OLD)
    known = set(store.read("trials")["trial_id"].to_pylist())

    def found(*names):
        garbage = collect(retentions(store, names), {}, files, known, NOW)
        return {one.folder for one in garbage.removals}, garbage.unknown

    assert found("s") == ({"modules/s-1-tau0.5-threshold0"}, {})
    assert found("s-1") == ({"modules/s-1-1-tau0.5-threshold0", "trials/s-1-1"}, {})
    assert found() == (found("s")[0] | found("s-1")[0], {})


def test_with_repeats_all_trainings_of_a_point_stay_and_those_of_a_set_that_is_not_over(store, configured):
    claim_sweep(store, configured("sweep.name=s", "search.repeats=2"), prefix="x", now=NOW)
    # Sets of coefficients: 0 and 1 are the front, 2 and 3 are dominated, 4 waits for 5, of 6 and 7 one diverged.
    points = [(0, 0.5, 0.99, 0.2), (1, 0.5, 0.95, 0.2), (2, 0.5, 0.9, 0.3), (3, 0.5, 0.96, 0.3)]
    states = dict.fromkeys((0, 1, 2, 3, 4, 6), "finished") | {7: "diverged"}
    add(store, states, [*points, (4, 0.5, 0.1, 0.9), (6, 0.5, 1.0, 0.1)])
    (one,) = retentions(store)
    assert len(one.sweep.front) == 1
    assert one.kept_sets == {"s-0-tau0.5-threshold0", "s-1-tau0.5-threshold0"}
    assert one.kept_trials == {"s-0", "s-1", "s-4"}
    assert one.aliases == {"pareto-0-0.5-0", "pareto-1-0.5-0"}


def test_both_sides_of_a_confirmation_stay(store, configured):
    """The parent's point left the front since, the confirming sweep's point is dominated there."""
    claim_sweep(store, configured("sweep.name=s"), prefix="x", now=NOW)
    add(store, {0: "finished", 1: "finished"}, [(0, 0.5, 0.9, 0.5), (1, 0.9, 0.8, 0.2), (1, 0.99, 0.1, 0.9)])
    parent = read_sweep(store, "s")
    child = claim_sweep(
        store, confirming(parent, chosen_points(parent, ["front"]), Request(seeds=1)), prefix="x", now=NOW
    )
    add(store, {2: "finished"}, [(2, 0.5, 1.0, 0.1)])
    claims = {one.sweep.sweep_id: one for one in retentions(store)}
    assert claims["s"].kept_trials == {"s-2"}  # nothing is confirmed yet

    sets = [parent.trials[number].coefficients for number in (0, 1)]
    order = read_sweep(store, child).config.search.baselines
    for number, coefficients in enumerate(order):
        own = {"sweep_id": child, "trial_id": f"{child}-{number}", "coefficients": canonical(coefficients)}
        store.append("trials", [{**event(number, "finished", 1), **own}])
        tau, size = (0.5, 0.5) if coefficients == sets[0] else (0.9, 0.2)
        rows = [{**point(number, tau, 0.7, size), **own}, {**point(number, 0.99, 0.1, 0.9), **own}]
        store.append("points", rows)
    kept = {one.sweep.sweep_id: one for one in retentions(store)}
    assert kept["s"].kept_trials == {"s-0", "s-1", "s-2"}
    assert kept["s"].kept_sets == {"s-0-tau0.5-threshold0", "s-1-tau0.9-threshold0", "s-2-tau0.5-threshold0"}
    assert len(kept[child].sweep.front) == 1
    assert kept[child].kept_trials == {f"{child}-0", f"{child}-1"}
    assert len(kept[child].kept_sets) == 2


def test_a_sweep_without_a_front_stays_whole(store, configured):
    claim_sweep(store, configured("sweep.name=s", 'search.constraints=["accuracy >= 0.99"]'), prefix="x", now=NOW)
    add(store, {0: "finished", 1: "diverged"}, [(0, 0.5, 0.9, 0.5)])
    (one,) = retentions(store)
    assert one.is_whole
    assert one.kept_trials == {"s-0"}
    assert one.kept_sets == {"s-0-tau0.5-threshold0"}


def test_a_sweep_that_is_not_there_is_refused(store, sweep, tmp_path):
    with pytest.raises(ConfigError, match=r"sweep 'other' is not in the storage; it holds \['s'\]"):
        retentions(store, ["other"])
    with pytest.raises(ConfigError, match="the storage holds no sweeps"):
        retentions(DeltaStore(str(tmp_path / "empty")))


def test_the_log_tells_of_every_set_that_goes(store, sweep, tmp_path):
    """Also of one from before there was a log, of one that was lost, and of one that stays."""
    files, times = Files(str(tmp_path)), (NOW + timedelta(seconds=step) for step in range(100))
    for name in ("s-0-tau0.5-threshold0", "s-1-tau0.5-threshold0"):
        for file in a_set(name):
            files.write(file, b"no manifest of ours")
    lost = {"sweep_id": "s", "trial_id": "s-1", "name": "s-1-tau0.9-threshold0", "event": "published", "time": YOUNG}
    store.append("modules", [lost])
    kept = retentions(store)
    remove(survey(store, files, kept, NOW), store, files, lambda: next(times))
    rows = store.read("modules").sort_by("time").to_pylist()
    told = {}
    for row in rows:
        told.setdefault(row["name"], []).append(row["event"])
    assert told == {
        "s-0-tau0.5-threshold0": ["published"],
        "s-1-tau0.5-threshold0": ["published", "removed"],
        "s-1-tau0.9-threshold0": ["published", "removed"],
    }
    assert [one.name for one in files.under("modules")] == sorted(a_set("s-0-tau0.5-threshold0"))
    assert not (tmp_path / "modules" / "s-1-tau0.5-threshold0").exists()
    again = survey(store, files, kept, NOW)
    assert (again.removals, again.unrecorded, again.gone) == ([], {}, [])


@cache
def repeating(repeats):
    return load_config(["tracking=none", f"search.repeats={repeats}"])


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_whatever_lies_there_nothing_that_stays_goes(data):
    """Of a random sweep: no file of a front's point or of a trial that is not over, and every file at most once."""
    statuses = st.sampled_from(("finished", "finished", "stopped", "diverged", "failed", "started"))
    states = data.draw(st.lists(statuses, min_size=1, max_size=6))
    repeats = data.draw(st.integers(1, 3))
    trials = [
        TrialState(f"s-{number:04d}", number, {}, Status(status), 1, None, 1.0, 1.0)
        for number, status in enumerate(states)
    ]
    values = st.integers(0, 3).map(lambda one: one / 4)
    points = [
        Point(
            one,
            Choice.contribution(level),
            {"calibrated_reuse_accuracy": data.draw(values), "cut_size": data.draw(values)},
            None,
        )
        for one in trials
        if one.status == "finished"
        for level in (0.1, 0.2)
    ]
    kept = Retention(Sweep("s", repeating(repeats), trials, points))
    names = [name for one in points for name in a_set(f"{one.trial.trial_id}-level{one.choice.values['level']}")]
    names += [name for one in trials for name in trained(one.trial_id, "checkpoint.pt")]
    files = [
        StoredFile(name, 1, data.draw(st.sampled_from((OLD, YOUNG)))) for name in names if data.draw(st.booleans())
    ]
    garbage = collect([kept], {}, files, {one.trial_id for one in trials}, NOW)
    gone = [file.name for one in garbage.removals for file in one.files]
    assert len(gone) == len(set(gone))
    assert set(gone) <= {file.name for file in files}
    assert not garbage.unknown
    needed = {single.trial.trial_id for one in kept.sweep.front for single in one.singles}
    needed |= {one.trial_id for one in trials if not one.is_over}
    assert not [name for name in gone for one in needed if name in trained(one)]
    assert not [name for name in gone for one in trials if not one.is_over and one.trial_id in name]
    whole = {one.name.removesuffix(f"/{MANIFEST}") for one in files if one.base == MANIFEST}
    for one in kept.sweep.front:
        for single in one.singles:
            folder = f"modules/{single.trial.trial_id}-level{single.choice.values['level']}"
            assert folder not in whole or not [name for name in gone if name.startswith(f"{folder}/")]


@pytest.mark.parametrize(
    ("aliases", "stale"),
    [
        (["pareto-3-0.9-0.1", "v2"], True),
        (["pareto-3-0.9-0.1", "latest"], True),
        (["pareto-1-0.5-0"], False),
        (["pareto-3-0.9-0.1", "pareto-1-0.5-0"], False),
        (["pareto-3-0.9-0.1", "best"], False),
        (["pareto-3-0.9-0.1", "knee"], False),
        (["pareto-3-0.9-0.1", "production"], False),
        (["latest", "v0"], False),
        ([], False),
    ],
)
def test_which_artifact_versions_are_of_points_that_left_the_front(aliases, stale):
    assert is_stale(aliases, {"pareto-1-0.5-0"}) is stale
