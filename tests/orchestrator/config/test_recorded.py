"""Configurations of older versions, and that what is recorded today is complete."""

import json

import pytest

from orchestrator.config.composing import load_config, override_config
from orchestrator.config.config import to_plain
from orchestrator.config.recorded import read_recorded
from orchestrator.config.search_section import Objective


def recorded(config, version, **search):
    plain = json.loads(json.dumps(to_plain(config)))
    plain["search"].update(search)
    return read_recorded({"config": json.dumps(plain), "schema_version": version})


@pytest.mark.parametrize("version", [1, 5, 6])
def test_a_direction_alone_was_compared_linearly(version):
    config = recorded(load_config([]), version, objectives={"reuse_accuracy": "max", "flops": "min"})
    assert config.search.objectives == {
        "reuse_accuracy": Objective("max", "linear"),
        "flops": Objective("min", "linear"),
    }


def test_the_names_of_older_versions_keep_their_reference_values():
    before = {"objectives": {"reuse_accuracy": "max", "module_size": "min"}}
    config = recorded(load_config([]), 5, **before, reference={"reuse_accuracy": 0.5, "module_size": 0.9})
    assert config.search.objectives["cut_size"] == Objective("min", "linear")
    assert config.search.reference == {"reuse_accuracy": 0.5, "cut_size": 0.9}


def test_todays_configuration_is_recorded_complete_and_read_as_it_is():
    config = load_config(["search.objectives.flops=min", "search.objectives.coupling={direction: min, scale: log}"])
    assert to_plain(config)["search"]["objectives"] == {
        "calibrated_reuse_accuracy": {"direction": "max", "scale": "linear"},
        "cut_size": {"direction": "min", "scale": "log"},
        "flops": {"direction": "min", "scale": "log"},
        "coupling": {"direction": "min", "scale": "log"},
    }
    assert to_plain(config)["search"]["reference"] == {
        "calibrated_reuse_accuracy": None, "cut_size": 1.0, "flops": 1.0, "coupling": 1.0,
    }  # fmt: skip
    assert recorded(config, 6) == config


def test_an_older_sweep_is_judged_on_the_logarithmic_scale_if_that_is_asked_for():
    older = recorded(load_config([]), 5, objectives={"reuse_accuracy": "max", "module_size": "min"})
    for override in ("search.objectives.cut_size=min", "search.objectives.cut_size.scale=log"):
        assert override_config(older, [override]).search.objectives["cut_size"] == Objective("min", "log")
    added = override_config(older, ["search.objectives.flops=min"])
    assert [one.scale for one in added.search.objectives.values()] == ["linear", "linear", "log"]
