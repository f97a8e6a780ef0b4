"""How long the report takes to redraw when a slider moves: 200 trials with 40 choices each.

Usage: python tests/benchmarks/report_speed.py

It prints the size of the page, the seconds to render it, and the processor time of a redraw in headless Chromium. That
should be less than 100 ms, so that the front follows the slider.
"""

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np

from orchestrator.config.choice import Choice
from orchestrator.views.page import render_report
from tests.orchestrator.results.test_sweep import TRIALS, made_point, made_sweep
from tests.orchestrator.views.browser import Browser, chromium

COUNT = 200
TAUS, THRESHOLDS = np.linspace(0.3, 0.99, 10).round(3).tolist(), (0.0, 0.1, 0.2, 0.3)
MOVES = 40
CHOOSE_RULE = """(() => {
  const rule = document.getElementById("rule");
  rule.value = "0";
  rule.dispatchEvent(new Event("change"));
  document.body.getBoundingClientRect();
})()"""
MOVE = """(() => {
  const slider = document.querySelector("#sliders input");
  for (let move = 0; move < %d; move += 1) {
    slider.value = move %% 10;
    slider.dispatchEvent(new Event("input"));
    document.body.getBoundingClientRect(); // lays the page out
  }
})()"""


def main() -> None:
    random = np.random.default_rng(0)
    trials, points = [], []
    for number in range(COUNT):
        trial = dataclasses.replace(
            TRIALS[0], trial_id=f"s-{number}", number=number, coefficients={"alpha": float(number)}
        )
        trials.append(trial)
        for tau in TAUS:
            for threshold in THRESHOLDS:
                size = float(0.8 * (1 - tau) + 0.1 * random.random())
                accuracy = float(0.98 - 0.1 * tau**4 - threshold / 9 - 0.05 * random.random())
                metrics = {"cut_overlap": size / 3, "accuracy": 0.98, "reuse_baseline": 0.98}
                point = made_point(0, Choice.activity(tau, threshold), accuracy, size, error=0.01, **metrics)
                points.append(dataclasses.replace(point, trial=trial))
    start = time.perf_counter()
    page = render_report(made_sweep(points, trials))
    print(f"{len(points)} points: {len(page) / 2**20:.1f} MiB, rendered in {time.perf_counter() - start:.1f} s")
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder) / "profile") as browser:
        browser.open(page, Path(folder) / "report.html")
        browser.call("Performance.enable", timeDomain="threadTicks")
        browser.value(CHOOSE_RULE)
        before = processor_seconds(browser)
        browser.value(MOVE % MOVES)
        taken = (processor_seconds(browser) - before) / MOVES
    print(f"a move of the slider: {1000 * taken:.0f} ms of processor time")


def processor_seconds(browser: Browser) -> float:
    """What the page's thread has worked until now, whatever else the machine does."""
    metrics = browser.call("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


if __name__ == "__main__":
    main()
