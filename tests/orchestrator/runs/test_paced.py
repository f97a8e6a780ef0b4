"""Which epochs a trial reports to Ray."""

import time

from orchestrator.runs.paced import paced


def reported(cost, *, epochs=40, seconds=0.002, **options):
    """The epochs of a training that come through a report which takes ``cost`` seconds."""
    seen = []

    def report(metrics):
        seen.append(metrics["epoch"])
        time.sleep(cost)

    some = paced(report, **options)
    for epoch in range(1, epochs + 1):
        time.sleep(seconds)
        some({"epoch": epoch, "epochs": epochs})
    return seen


def test_the_first_and_the_last_epoch_are_reported_whatever_it_costs():
    assert reported(0.1) == [1, 40]


def test_every_epoch_is_reported_where_that_takes_no_time():
    assert reported(0, epochs=3, seconds=0.1) == [1, 2, 3]


def test_workers_report_what_the_first_one_decides():
    """Ray Train waits at a report for every worker."""
    asked = []

    def third(own):
        asked.append(own)
        return len(asked) == 3

    assert reported(0.05, epochs=5, agreed=third) == [3]
    assert asked == [True] * 3 + [False, True]  # due until one was reported, and at the last epoch
