"""The report's words and tables, for a sweep that is made by hand."""

import dataclasses
import html
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
import yaml

from orchestrator.config import to_plain
from orchestrator.results import Origin
from orchestrator.results.points import TrialState
from orchestrator.search import Status
from orchestrator.views.page import render_report
from tests.orchestrator.results.test_sweep import CONFIG, TRIALS, by_tau, made_point, made_sweep
from tests.orchestrator.views.test_terminal import FRONT, OTHERS


class Tables(HTMLParser):
    """The cells of a page's tables: a list of rows each, heads first."""

    def __init__(self, page):
        super().__init__()
        self.found, self._text = [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.found.append([])
        elif tag == "tr":
            self.found[-1].append([])
        elif tag in ("td", "th"):
            self._text = ""

    def handle_data(self, data):
        if self._text is not None:
            self._text += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.found[-1][-1].append(self._text)
            self._text = None


@pytest.fixture(scope="module")
def page():
    return render_report(made_sweep(FRONT))


def test_the_front_s_table_has_a_row_for_each_point(page):
    (front, _) = Tables(page).found
    assert front == [
        [
            *("point", "", "calibrated %", "size %", "overlap %", "acc %", "test calibrated %", "test acc %"),
            "coefficients",
        ],
        ["1/0.1", "", "80.0±2.0", "10.0", "12.5", "97.0", "", "", "alpha 2"],
        ["0/0.9/0", "knee", "90.0±1.0", "50.0", "12.5", "97.0", "", "", "alpha 1"],
        ["0/0.5/0", "best", "95.0±1.2", "75.0", "12.5", "97.0", "85.0±0.4", "96.0", "alpha 1"],
    ]
    assert page.count("<tr class='marked'") == 2
    assert [f"data-point='{row[0]}'" in page for row in front[1:]] == [True] * 3


def test_small_shares_keep_two_digits_and_points_below_the_reference_are_set_apart():
    small = made_point(0, by_tau(0.9), 0.4, 0.00213, error=0.01, **OTHERS)
    page = render_report(made_sweep([*FRONT, small]))
    (front, _) = Tables(page).found
    assert front[1][:4] == ["0/0.9/0", "", "40.0±1.0", "0.21"]
    assert "<tr class='below' data-point='0/0.9/0'>" in page


def test_the_trials_table_says_how_they_stand(page):
    (_, trials) = Tables(page).found
    assert trials[0] == ["trial", "alpha", "status", "training s", "evaluation s", "reason"]
    assert trials[1:] == [[str(t.number), f"{1 + t.number}", t.status, "2.0", "0.5", ""] for t in TRIALS]


def test_the_words_around_them(page):
    assert "<h1>Sweep s</h1>" in page
    assert (
        "<p class='sub'>vgg on digits, method moda, 2 of 6 trials finished, 1 stopped early, 12 s of training,"
        " 3 points</p>" in page
    )
    strips = (0.95 - 0.5) * 0.25 + (0.9 - 0.5) * 0.25 + (0.8 - 0.5) * 0.4
    words = " ".join(page.split())
    assert "Objectives: calibrated reuse accuracy (higher is better), module size (lower is better)." in words
    assert "Points are chosen on validation images; test is only reported." in words
    assert f"Hypervolume {strips:.4f}:" in words
    assert "up to the reference point: calibrated reuse accuracy 50.0 %, module size 100.0 %." in words
    assert "<code>moda pull sweep:s/best --to modules</code>" in page
    assert "<code>sweep:s/1/0.1</code>" in page
    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        *("The front", "Points on the front", "Curves of every rule", "The search", "Trials", "Configuration"),
    ]
    assert re.findall(r"<h3>(Over .*?)</h3>", page) == ["Over tau (activity)", "Over level (contribution)"]


def test_how_trials_stand_is_counted_and_explained(page):
    assert "<dt>1 failed</dt><dd>ended by an error; the same `moda sweep` tries them again</dd>" in page
    assert "<dt>1 stopped</dt><dd>ended by early stopping, without points</dd>" in page
    assert "<dt>2 finished</dt>" in page
    assert "waiting to start" not in page


def test_the_whole_configuration_and_where_it_comes_from_are_there(page):
    (text,) = re.findall(r"<pre id='configuration'>(.*?)</pre>", page, re.DOTALL)
    assert yaml.safe_load(html.unescape(text)) == to_plain(CONFIG)
    assert "with which packages" not in page
    origin = Origin(datetime(2026, 3, 1, 9, 5, tzinfo=UTC), {"torch": "2.9.1"})
    page = render_report(made_sweep(FRONT), origin=origin)
    assert "<dt>started</dt><dd>2026-03-01 09:05 UTC</dd><dt>torch</dt><dd>2.9.1</dd>" in page


def test_only_a_page_that_is_watched_is_loaded_again(page):
    assert "http-equiv" not in page
    assert "<meta http-equiv='refresh' content='15'>" in render_report(made_sweep(FRONT), refresh=15)


def test_the_configuration_is_listed(page):
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    training = CONFIG.training
    assert facts["training"] == (
        f"{training.epochs} epochs, batch {training.batch_size}, learning rate {training.learning_rate:g}, seed 0"
    )
    assert facts["taus"] == "0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99"
    assert facts["levels"] == "none"
    assert facts["target sizes"] == "0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5"
    assert facts["search"] == "curve, seed 0, early stopping none"
    assert facts["repeats"] == "none"


def test_repeats_show_each_training_s_seed_and_what_a_mean_is():
    pair = [dataclasses.replace(FRONT[0], trial=trial) for trial in TRIALS[:2]]
    page = render_report(made_sweep(pair, trials=TRIALS[:2], repeats=2))
    (front, trials) = Tables(page).found
    assert [row[2] for row in front[1:]] == ["95.0±0.0"]
    assert [row[2] for row in trials] == ["seed", "0", "1"]
    assert "Points are mean ± standard deviation over the 2 seeds of a set of coefficients;" in page
    assert "<dd>2 trainings of each set of coefficients</dd>" in page


def test_only_rules_that_were_measured_have_curves():
    page = render_report(made_sweep(FRONT[:2]))
    assert re.findall(r"<h3>(Over .*?)</h3>", page) == ["Over tau (activity)"]
    assert "<dt>levels</dt><dd>none</dd>" in page


def test_what_others_wrote_is_text_and_no_html():
    coefficients = {"optimizer": "<b>adamw</b>"}
    trial = TrialState("s-0", 0, coefficients, Status.FAILED, 1, "<script>alert(1)</script>", None, None)
    page = render_report(made_sweep([], trials=[trial]))
    assert "<p>sweep 's' has no points yet; let a trial finish first</p>" in html.unescape(page)
    (trials,) = Tables(page).found
    assert trials == [
        ["trial", "optimizer", "status", "training s", "evaluation s", "reason"],
        ["0", "<b>adamw</b>", "failed", "", "", "<script>alert(1)</script>"],
    ]
    assert "<script>" not in page
    assert "<b>" not in page
