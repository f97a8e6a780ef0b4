"""A module set's card, where classes are called anything."""

from orchestrator.config.choice import Choice
from orchestrator.modules.model_card import model_card, sliced_card
from orchestrator.results.points import Point, TrialState
from orchestrator.results.sweep import Sweep
from orchestrator.search import Status


def test_class_names_stay_on_their_line():
    card = sliced_card(b"# Modules\n", ["a=b", "\x1b[31mred\n# Heading", "| ä"])
    assert card.decode().splitlines() == [
        r"> Only a=b, '\x1b[31mred\n# Heading', | ä of the set that is described below.",
        "",
        "# Modules",
    ]


def test_hostile_names_stay_in_their_cells(configured):
    trial = TrialState("s-3", 3, {"alpha": 0.3, "optimizer": "adamw"}, Status.FINISHED, 1, None, None, None)
    metrics = {"calibrated_reuse_accuracy": 0.9, "reuse_accuracy": 0.8, "cut_size": 0.25}
    points = [Point(trial, Choice.contribution(level), metrics, None) for level in (0.1, 0.3)]
    sweep = Sweep("| {{ 7 * 7 }}\n# Heading", configured("sweep.name=s"), [trial], points)
    lines = model_card(sweep, points[1], ["a|b", "c\nd", "e"]).splitlines()
    assert lines[:11] == [
        "# Modules of vgg on digits",
        "",
        "One network, cut to what its 3 classes need at level 0.3; any subset of the classes is a slice.",
        "",
        "|  |  |",
        "|---|---|",
        r"| classes | a\|b, 'c\nd', e |",
        r"| trial | 3 of sweep \| {{ 7 * 7 }} # Heading |",
        "| coefficients | alpha 0.3, optimizer adamw |",
        "| training | 30 epochs, adamw, seed 0 |",
        "",
    ]
    assert r"module = load_modules(folder, classes=['a|b', 'c\nd'])" in lines
    assert lines[-4:] == [
        "| choice | calibrated reuse accuracy | module size | overlap |",
        "|---|---|---|---|",
        "| level 0.1 | 90.0 % | 25.0 % |  |",
        "| **level 0.3** | **90.0 %** | **25.0 %** |  |",
    ]
