"""What a person sees while a sweep runs, in a log and in a terminal."""

import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from orchestrator.config.composing import load_config
from orchestrator.results import Sweep
from orchestrator.search import Status
from orchestrator.views import Progress
from tests.orchestrator.results.test_sweep import TRIALS, by_tau, made_point

CONFIG = load_config(["tracking=none", "sweep.trials=4", "search.reference.calibrated_reuse_accuracy=0.5"])
FINISHED = replace(TRIALS[0], status=Status.FINISHED, seconds=20.0, evaluation_seconds=4.0)


class Watched:
    """A progress with a clock that is set by hand, and what it has printed."""

    def __init__(self, *, is_terminal):
        self.now = 0.0
        self.console = Console(width=120, file=io.StringIO(), record=True, force_terminal=is_terminal)
        self.progress = Progress(self.console, clock=lambda: self.now)

    def begin(self, sweep):
        self.sweep = sweep
        self.progress.begin(CONFIG, 1, lambda: self.sweep)

    def start(self, number):
        trial = SimpleNamespace(trial_id=str(number), config={"number": number, "coefficients": {"alpha": 1.0}})
        self.progress.on_trial_start(0, [], trial)
        return trial

    def text(self):
        return self.console.export_text(clear=False)


@pytest.fixture
def log():
    return Watched(is_terminal=False)


def test_a_log_says_what_is_done_before_the_first_trial_and_how_a_trial_goes_on(log):
    log.progress.prepare("loading digits")
    log.begin(Sweep("s", CONFIG, [], []))
    trial = log.start(0)
    log.now = 20.0
    log.progress.on_trial_result(0, [], trial, {"epoch": 3, "epochs": 30, "loss": 1.0, "terms": {}})
    log.now = 40.0
    log.progress.on_trial_result(0, [], trial, {"epoch": 30, "epochs": 30, "loss": 0.5, "terms": {}})
    log.progress.show_measured(2, 6)
    lines = log.text().splitlines()
    assert lines[0] == "loading digits"
    assert any(line.startswith("running trial 0 epoch 3/30; time left") for line in lines)
    assert any(line.startswith("running trial 0 measuring; time left") for line in lines)
    assert lines[-1] == "measured 2 of 6 trials on the test images"


def test_the_time_left_counts_the_test_measurement(log):
    log.begin(Sweep("s", CONFIG, [], []))
    trial = log.start(0)
    log.now = 30.0
    points = [made_point(0, by_tau(0.5), 0.9, 0.5), made_point(0, by_tau(0.9), 0.8, 0.1)]
    log.sweep = Sweep("s", CONFIG, [FINISHED], points)
    log.progress.on_trial_complete(0, [], trial)
    # 3 trainings of 30 s; 2 points of the front at 2 s for 1,000 pairs of validation, so 10 s for 5,000 of test
    assert "about 1 min 50 s left" in log.text()


def test_the_time_left_is_the_smaller_one_of_trials_and_hours(log):
    """Of 3 more trials of 30 s none is begun later than 54 s from the start; the last one takes 30 s more."""
    limited = replace(CONFIG, sweep=replace(CONFIG.sweep, hours=54 / 3600))
    log.begin(Sweep("s", limited, [], []))
    trial = log.start(0)
    log.now = 30.0
    log.sweep = Sweep("s", limited, [FINISHED], [])
    log.progress.on_trial_complete(0, [], trial)
    assert "; about 54 s left" in log.text()  # 90 s by trials alone
    log.start(1)
    log.now = 55.0
    log.progress.on_trial_result(0, [], log.start(2), {})
    assert log.text().splitlines()[-1].endswith("about 30 s left")  # no trial is begun any more


def test_rows_of_running_trials_stay_on_one_line_and_what_is_below_stays_in_its_place():
    watched = Watched(is_terminal=True)
    watched.begin(Sweep("s", CONFIG, [FINISHED], []))
    trials = [watched.start(number) for number in range(2)]
    terms = {"affinity": 0.5, "dispersion": 0.25}
    watched.progress.on_trial_result(0, [], trials[0], {"epoch": 1, "epochs": 3, "loss": 1.5, "terms": terms})

    def lines(width):
        console = Console(width=width, file=io.StringIO(), record=True)
        console.print(watched.progress._view())
        return console.export_text().splitlines()

    wide = lines(120)
    assert wide[2].split() == ["trial", "loss", "affinity", "dispersion", "coefficients"]
    assert wide[3].split()[:6] == ["0", "epoch", "1/3", "1.500", "0.500", "0.250"]
    watched.progress.on_trial_complete(0, [], trials[0])
    watched.progress.close()
    assert len(lines(120)) == len(wide)


def test_the_display_of_a_terminal_has_front_and_hypervolume_at_once():
    watched = Watched(is_terminal=True)
    watched.progress.prepare("starting Ray")
    watched.begin(
        Sweep("s", CONFIG, [FINISHED], [made_point(0, by_tau(0.5), 0.9, 0.5, cut_overlap=0.1, accuracy=0.95)])
    )
    watched.console.print(watched.progress._view())
    watched.progress.close()
    text = watched.text()
    assert "1 of 4 trials, hypervolume 0.1204, time left" in text  # 0.4 x log10(2)
    assert "starting" in text
    assert "best, knee" in text
