"""The report in a real browser: what a person does with it, and what is seen then."""

import dataclasses
import itertools
import json

import pytest

from orchestrator.config.choice import Choice
from orchestrator.declarations import METRICS
from orchestrator.results.per_class import SweepClasses
from orchestrator.search import Forecast, Slice
from orchestrator.views.page import render_report
from orchestrator.views.terminal import metric_text
from tests.orchestrator.results.test_per_class import class_rows
from tests.orchestrator.results.test_sweep import TRIALS, made_point, made_sweep
from tests.orchestrator.views.browser import chromium
from tests.orchestrator.views.test_escaping import HOSTILE

TAUS, THRESHOLDS = (0.5, 0.7, 0.9), (0.0, 0.1)
WHOLE = {"reuse_baseline": 0.97, "accuracy": 0.98, "cut_overlap": 0.1}


def points_of(trial, accuracy, size):
    """The points of a trial at every tau and threshold, and at two target sizes: smaller modules are less accurate."""

    def made(choice, loss, share):
        return made_point(trial, choice, accuracy - loss, share, **WHOLE)

    by_activity = [
        made(Choice.activity(tau, threshold), 0.1 * tau**4 + threshold / 9, size * (1 - tau))
        for threshold in THRESHOLDS
        for tau in TAUS
    ]
    return [*by_activity, *(made(Choice.size(target), 0.002 / target, target) for target in (0.05, 0.2))]


POINTS = [*points_of(0, 0.97, 0.9), *points_of(1, 0.93, 0.5), made_point(1, Choice.size(0.01), 0.3, 0.01, **WHOLE)]
SWEEP = dataclasses.replace(made_sweep(POINTS), sweep_id="mine")
TAKEN_FOR = ((9, 1, 0), (4, 5, 1), (0, 0, 10))


def classes_of(*points, names=("cat", "dog", "cow")):
    """What was measured of three classes at points."""
    rows = [class_rows(each.trial.number, "test", *TAKEN_FOR, choice=each.choice, names=names) for each in points]
    return SweepClasses(itertools.chain.from_iterable(rows))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def page(browser, tmp_path):
    """The report of a sweep of two trials with points, opened; nothing is written to the console."""
    browser.open(render_report(SWEEP, classes=classes_of(*SWEEP.front)), tmp_path / "report.html")
    yield browser
    assert browser.messages == []
    assert {address.partition(":")[0] for address in browser.addresses} == {"file"}


def text(page, selector):
    return page.value(f"document.querySelector({selector!r}).textContent")


def selected(page):
    """The point that the panel, the rows of both tables and the address name."""
    rows = "[...document.querySelectorAll('tr.selected')].map((row) => row.dataset.point ?? row.dataset.trial)"
    return text(page, "#selection h3"), page.value(rows), page.value("decodeURIComponent(location.hash)")


def test_best_is_selected_at_first_and_a_click_on_another_selects_it_everywhere(page):
    best = SWEEP.find("best").label
    assert text(page, "#selection h3").startswith(f"Point {best} (best")
    assert f"moda pull sweep:mine/{best} --to modules" in text(page, "#selection")
    other = SWEEP.front[1]
    page.click("circle.on-front:nth-of-type(1)")
    assert selected(page) == (f"Point {other.label}", [other.label, str(other.trial.number)], f"#{other.label}")
    assert f"moda pull sweep:mine/{other.label} --to modules" in text(page, "#selection")
    assert f"whole network of trial {other.trial.number}" in text(page, "#front-figure")


def test_rows_and_arrow_keys_select_as_well(page):
    first, second = SWEEP.front[0].label, SWEEP.front[1].label
    page.click(f"tr[data-point='{second}'] td")
    assert selected(page)[0].startswith(f"Point {second}")
    page.value("document.getElementById('front-figure').focus()")
    page.press("ArrowLeft")
    assert selected(page)[1] == [first, str(SWEEP.front[0].trial.number)]


def test_the_panel_has_the_numbers_of_the_tables(browser, tmp_path):
    """Whatever their size: small ones, those that are rounded up to another digit, and those in the middle of two."""
    sizes = (0.0, 0.000125, 0.000996, 0.00125, 0.00999, 0.0125, 0.0375, 0.8125, 1.0)
    points = [
        made_point(0, Choice.size((1 + n) / 10), 0.5 + n / 32, size, error=(1 + n) / 160, **WHOLE)
        for n, size in enumerate(sizes)
    ]
    browser.open(render_report(made_sweep(points)), tmp_path / "report.html")
    list_of = "[...document.querySelectorAll('#selection dl > *')].map((each) => each.textContent)"
    for point in points:
        browser.click(f"tr[data-point='{point.label}'] td")
        said = browser.value(list_of)
        shown = dict(zip(said[::2], said[1::2], strict=True))
        for metric in map(METRICS.get, ("calibrated_reuse_accuracy", "cut_size", "cut_overlap")):
            assert f"{shown[metric.title]} (".startswith(f"{metric_text(point, metric)} (")


def test_the_classes_of_the_selected_point_are_open_and_their_file_holds_counts(page):
    opened = "[...document.querySelectorAll('details[data-classes][open]')].map((each) => each.dataset.classes)"
    best, other = SWEEP.find("best").label, SWEEP.front[1].label
    assert page.value(opened) == [best]
    summary = f"details[data-classes='{best}'] summary"
    assert text(page, summary).startswith(f"{best} (best")
    assert text(page, summary).endswith("worst class dog: 50.0 % on test")
    page.click("circle.on-front:nth-of-type(1)")
    assert page.value(opened) == [other]
    cells = f"[...document.querySelectorAll(`table[data-name='confusion-{other}'] tr:nth-child(2) td`)]"
    assert page.value(f"{cells}.map((cell) => cell.textContent)") == ["dog", "40", "50", "10"]
    page.value("window.offered = []; URL.createObjectURL = (blob) => (offered.push(blob), '#')")
    place = f"document.querySelector(`table[data-name='confusion-{other}']`).parentElement.previousSibling"
    page.value(f"{place}.lastChild.click()")
    assert page.value("offered[0].text()") == ",cat,dog,cow\ncat,9,1,0\ndog,4,5,1\ncow,0,0,10\n"


def test_a_coefficient_that_a_baseline_alone_states_is_not_drawn_by_itself(browser, tmp_path):
    with_warmup = dataclasses.replace(TRIALS[0], coefficients={**TRIALS[0].coefficients, "warmup": 0.5})
    points = [dataclasses.replace(point, trial=with_warmup) if point.trial is TRIALS[0] else point for point in POINTS]
    sweep = dataclasses.replace(made_sweep(points, [with_warmup, *TRIALS[1:]]), sweep_id="mine")
    browser.open(render_report(sweep), tmp_path / "report.html")
    assert browser.messages == []
    assert browser.value("document.querySelectorAll('#slices > div').length") == 1
    axes = "[...document.querySelectorAll('#parallel text')].map((each) => each.textContent)"
    assert {"alpha", "hypervolume", "warmup"} & set(browser.value(axes)) == {"alpha", "hypervolume"}


def test_the_model_s_band_is_drawn_and_the_command_is_copied(browser, tmp_path):
    along = Slice([1.0, 1.5, 2.0], [0.2, 0.3, 0.25], [0.1, 0.2, 0.2], [0.3, 0.4, 0.3])
    address = "https://wandb.example/team/moda/runs/mine"
    page = render_report(
        SWEEP,
        recipe=["data=digits", "search.space={alpha: {low: 1, high: 2}}"],
        address=address,
        expected=Forecast([0.001, 0.0015], {"alpha": along}),
    )
    browser.open(page, tmp_path / "report.html")
    assert browser.messages == []
    assert browser.value("document.querySelectorAll('#slices .band').length") == 1
    assert "to be added to the hypervolume: 0.001" in browser.value("document.body.textContent")
    command = "moda sweep sweep.name=mine-again data=digits 'search.space={alpha: {low: 1, high: 2}}'"
    assert text(browser, "pre[data-copied]") == command
    assert browser.value("document.querySelector('pre[data-copied]').previousSibling.textContent") == "Copy"
    trial = SWEEP.find("best").trial.trial_id
    assert browser.value("document.querySelector('#selection a').href") == address.replace("mine", trial)
    assert browser.value("document.querySelector('p.sub a').href") == address


def test_dragging_a_slider_moves_all_trials_along_their_curves(page):
    line = "document.getElementById('front-line').getAttribute('d')"
    page.value("document.getElementById('rule').focus()")
    page.press("ArrowDown")
    assert page.value("[...document.querySelectorAll('#sliders input')].map((one) => one.name)") == ["tau", "threshold"]
    before, words = page.value(line), text(page, "#front-says")
    assert words.startswith("At tau 0.7, threshold 0:")
    x, y = page.place("#sliders input[name=tau]")
    page.drag((x, y), [(x + step, y) for step in range(0, 90, 10)])
    assert text(page, "#front-says").startswith("At tau 0.9, threshold 0:")
    assert page.value(line) != before
    trial = SWEEP.find("best").trial.number
    assert text(page, "#selection h3").startswith(f"Point {trial}/0.9/0")


def test_points_worse_than_the_reference_are_shown_on_request(page):
    marks = "document.querySelectorAll('circle.on-front').length"
    assert SWEEP.front[0].metrics["calibrated_reuse_accuracy"] < 0.5
    words = "1 point is worse than the reference and counts for nothing; it is on the front"
    assert words in text(page, "#front-says")
    assert page.value(marks) == len(SWEEP.front) - 1
    page.click("#show-all")
    assert page.value(marks) == len(SWEEP.front)


def test_a_click_on_a_head_sorts_and_another_turns_the_order(page):
    sizes = "[...document.querySelectorAll('tr[data-point]')].map((row) => parseFloat(row.cells[3].textContent))"
    rising = sorted(100 * point.metrics["cut_size"] for point in SWEEP.front)
    for order in (rising, rising[::-1]):
        page.click("table[data-name=front] th:nth-child(4) button")
        assert page.value(sizes) == pytest.approx(order, abs=0.05)


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_and_the_legend_lies_below_the_points(page, width):
    page.resize(width)
    widest = "document.documentElement.scrollWidth"
    assert page.value(f"new Promise((done) => setTimeout(() => done({widest}), 200))") <= width
    top, bottom = (
        page.value(f"document.querySelector('{selector}').getBoundingClientRect().{side}")
        for selector, side in ((".legend", "top"), ("#front-figure svg", "bottom"))
    )
    assert top >= bottom - 1


def test_it_is_dark_where_people_want_it_dark(page):
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.value(colour) == "rgb(255, 255, 255)"
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    dark = page.value(colour)
    page.call("Emulation.setEmulatedMedia", features=[])
    assert max(map(int, dark.removeprefix("rgb(").rstrip(")").split(","))) < 60


CONTRAST = """(() => {
  const light = (name) => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(${name})`;
    const parts = getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255);
    probe.remove();
    const [red, green, blue] = parts.map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05;
  };
  const of = (name) => Math.max(light(name), light("--paper")) / Math.min(light(name), light("--paper"));
  return Object.fromEntries(NAMES.map((name) => [name, of(name)]));
})()"""
LINES = [f"--hue-{place}" for place in range(1, 7)] + ["--front", "--test", "--baseline"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_lines_stand_out_from_the_page(page, scheme):
    """By as much as WCAG asks for: 4.5 for text, 3 for graphics."""
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    found = page.value(CONTRAST.replace("NAMES", json.dumps([*LINES, "--ink", "--soft"])))
    page.call("Emulation.setEmulatedMedia", features=[])
    assert {name for name in LINES if found[name] < 3} == set()
    assert min(found["--ink"], found["--soft"]) >= 4.5


def test_on_paper_it_is_light_and_no_table_is_cut_off(page):
    page.resize(720)  # the width of a page of A4
    page.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    colour = page.value("getComputedStyle(document.body).backgroundColor")
    cut = page.value("[...document.querySelectorAll('div.scroll')].filter((each) => each.scrollWidth > 720).length")
    page.call("Emulation.setEmulatedMedia", media="", features=[])
    assert (colour, cut) == ("rgb(255, 255, 255)", 0)


def test_hostile_names_stay_text(browser, tmp_path):
    trial = dataclasses.replace(TRIALS[0], coefficients={"optimizer": HOSTILE}, reason=HOSTILE)
    points = [dataclasses.replace(point, trial=trial) for point in POINTS[:8]]
    sweep = dataclasses.replace(made_sweep(points, trials=[trial, *TRIALS[1:]]), sweep_id=HOSTILE)
    classes = classes_of(*sweep.front, names=(HOSTILE, "dog", "cow"))
    browser.open(render_report(sweep, classes=classes), tmp_path / "report.html")
    assert browser.messages == []
    assert browser.value("document.querySelectorAll('img').length") == 0
    assert f"optimizer {HOSTILE}" in text(browser, "#selection")


def test_a_sweep_without_a_front_shows_its_trials(browser, tmp_path):
    browser.open(render_report(made_sweep([])), tmp_path / "report.html")
    assert browser.messages == []
    assert browser.value("document.querySelectorAll('tr[data-trial]').length") == len(TRIALS)
