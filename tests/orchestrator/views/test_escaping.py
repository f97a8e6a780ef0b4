"""The report as HTML: whatever a network, a coefficient or an error is called stays text."""

import dataclasses
from html.parser import HTMLParser

import pytest

from orchestrator.results.confirmation import Confirmation
from orchestrator.results.records import canonical, claim_sweep, read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.views.page import render_report
from tests.orchestrator.results.test_records import NOW, event, point

HOSTILE = """</td></script><img src=x onerror="alert(1)">&amp;'{{ 7 * 7 }}"""


class Elements(HTMLParser):
    """What a browser makes of a page: how often each element starts, and the text outside scripts and styles."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.started, self.texts, self._inside = {}, [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.started[tag] = self.started.get(tag, 0) + 1
        self._inside.append(tag)

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, text):
        if not {"script", "style"} & set(self._inside):
            self.texts.append(text)


@pytest.fixture
def sweep_with(tmp_path, configured):
    """Reads a sweep of two trials on the front, one of them with a text as its coefficient, and a failed one."""

    def read(name, text):
        store = DeltaStore(str(tmp_path / name))
        claim_sweep(
            store, configured("sweep.name=s", "evaluation.levels=[]", "evaluation.targets=[]"), prefix="x", now=NOW
        )
        rows = [event(0, "finished", 1), event(1, "finished", 1), event(2, "failed", 1, reason=text)]
        rows[1]["coefficients"] = canonical({"alpha": 1.0, "optimizer": text})
        store.append("trials", rows)
        store.append("points", [point(0, 0.5, 0.9, 0.2), point(1, 0.5, 0.8, 0.1)])
        return read_sweep(store, "s")

    return read


def report(sweep):
    """The report, with the sweep's points as their own confirmation."""
    chosen = dataclasses.replace(sweep.config.sweep, chosen=tuple(point.label for point in sweep.front))
    again = dataclasses.replace(sweep, config=dataclasses.replace(sweep.config, sweep=chosen))
    return Elements(render_report(sweep, [Confirmation(sweep, again)]))


def test_hostile_names_stay_text(sweep_with):
    plain, hostile = report(sweep_with("plain", "sgd")), report(sweep_with("hostile", HOSTILE))
    assert hostile.started == plain.started
    assert "img" not in hostile.started
    assert plain.started["h2"] == 6  # the front, its points, the confirmation, curves, trials, configuration
    texts = " ".join(hostile.texts)
    assert texts.count(f"alpha 1 optimizer {HOSTILE}") == 2  # in the points of the front and in the confirmation
    assert hostile.texts.count(HOSTILE) == 2  # as a coefficient and as a reason, in the trials


def test_a_sweep_without_a_front_says_why(sweep_with):
    sweep = dataclasses.replace(sweep_with("empty", "sgd"), sweep_id=HOSTILE, points=[])
    page = report(sweep)
    assert f"sweep {HOSTILE!r} has no points yet; let a trial finish first" in page.texts
    assert page.started["title"] == 1
    assert page.started["h2"] == 2
    assert "img" not in page.started
