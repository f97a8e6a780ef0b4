"""One configuration for several methods: whose keys are whose, what is shared, and what is refused."""

import dataclasses
import json

import pytest

from orchestrator.config import Dimension, to_plain
from orchestrator.config.composing import override_config
from orchestrator.config.config import parse_config
from orchestrator.config.identities import identity, identity_hash
from orchestrator.config.space import check_space, corners
from orchestrator.errors import ConfigError
from orchestrator.runs.proposals import search_problem
from orchestrator.training import with_own_parts

MIXED = "search.space.method={choices: [moda, standard]}"
OWN = "tests.seams.toy_method:Toy"


@pytest.fixture
def mixed(configured):
    return lambda *overrides: configured(MIXED, *overrides)


class TestSpace:
    def test_coefficients_are_their_method_s_and_the_rest_is_shared_over_the_widest_range(self, mixed):
        config = mixed()
        alone = Dimension(low=0.03, high=3.0, log=True, zero=True)
        assert config.search.space == {
            "method": Dimension(choices=("moda", "standard")),
            "method.moda.alpha": alone,
            "method.moda.beta": alone,
            "method.moda.gamma": Dimension(low=0.03, high=10.0, log=True),
            "learning_rate": Dimension(low=0.01, high=0.5, log=True),  # 0.02 to 0.3, and 0.01 to 0.5
            "weight_decay": Dimension(low=1e-5, high=0.02, log=True),  # 1e-4 to 0.02, and 1e-5 to 0.01
        }

    def test_what_only_some_methods_search_is_theirs(self, mixed):
        config = mixed("search.space.method.standard.momentum={low: 0.8, high: 0.95}", "~search.space.method.moda.beta")
        names = set(config.search.space)
        assert "method.standard.momentum" in names
        assert "momentum" not in names
        assert "method.moda.beta" not in names

    def test_a_typed_dimension_of_training_is_that_of_all(self, mixed):
        config = mixed("search.space.learning_rate.high=0.4", "search.space.batch_size={choices: [32, 64]}")
        assert config.search.space["learning_rate"] == Dimension(low=0.01, high=0.4, log=True)
        assert config.search.space["batch_size"].choices == (32, 64)

    def test_ends_of_one_method_alone(self, mixed):
        space = mixed("search.space.method.moda.alpha.high=2.0").search.space
        assert space["method.moda.alpha"] == Dimension(low=0.03, high=2.0, log=True, zero=True)

    def test_corners_are_those_of_each_method(self, mixed):
        found = corners(dataclasses.replace(mixed().search, baselines=()))
        of_moda = [corner for corner in found if corner["method"] == "moda"]
        assert len(of_moda) == 4  # lows, highs, and the low ends beside the zeros of alpha and beta
        assert found[4:] == [
            {"method": "standard", "learning_rate": 0.01, "weight_decay": 1e-5},
            {"method": "standard", "learning_rate": 0.5, "weight_decay": 0.02},
        ]


class TestTrials:
    def test_a_trial_has_its_method_s_configuration(self, mixed):
        config = mixed()
        moda = config.with_coefficients({"method": "moda", "method.moda.alpha": 0.5, "learning_rate": 0.2})
        assert (moda.method.name, moda.method.coefficients["alpha"], moda.method.coefficients["gamma"]) == (
            "moda", 0.5, 3.0,
        )  # fmt: skip
        assert (moda.training.learning_rate, moda.training.weight_decay) == (0.2, 0.01)
        standard = config.with_coefficients({"method": "standard", "learning_rate": 0.2})
        assert (standard.method.name, standard.method.coefficients) == ("standard", {})
        assert (standard.training.learning_rate, standard.training.weight_decay) == (0.2, 0.0)
        assert [standard.coefficient(key) for key in ("method", "method.moda.alpha", "weight_decay")] == [
            "standard", None, 0.0,
        ]  # fmt: skip

    def test_another_method_s_coefficient_is_refused(self, mixed):
        with pytest.raises(ConfigError, match=r"method\.moda\.alpha=0\.5: the method is standard; leave it out"):
            mixed().with_coefficients({"method": "standard", "method.moda.alpha": 0.5})

    def test_training_is_the_one_that_the_method_s_file_alone_gives(self, configured, mixed):
        for name in ("moda", "standard"):
            alone = configured(f"method={name}")
            found = mixed().with_coefficients({"method": name})
            assert (found.training, found.evaluation, found.method.coefficients) == (
                alone.training, alone.evaluation, alone.method.coefficients,
            )  # fmt: skip

    def test_a_typed_key_of_training_is_that_of_every_method(self, mixed):
        config = mixed("training.weight_decay=0.003")
        assert config.search.methods["moda"].training == {"decay_steps": 500}
        assert config.with_coefficients({"method": "moda"}).training.weight_decay == 0.003
        again = override_config(mixed(), ["training.weight_decay=0.003"])
        assert again.with_coefficients({"method": "moda"}).training.weight_decay == 0.003

    def test_a_fixed_coefficient_of_one_method(self, mixed):
        config = mixed("search.methods.moda.method.compactness=size")
        assert config.with_coefficients({"method": "moda"}).method.coefficients["compactness"] == "size"


class TestBaselines:
    def test_they_are_those_of_every_method_s_file(self, mixed):
        baselines = mixed().search.baselines
        assert [baseline["method"] for baseline in baselines] == ["moda"] * 4 + ["standard"]
        assert baselines[3] == {
            "method": "moda", "method.moda.alpha": 1.0, "method.moda.beta": 0.3, "method.moda.gamma": 3.0,
            "weight_decay": 0.01,
        }  # fmt: skip

    def test_they_name_a_method_or_are_trained_with_each(self, mixed):
        stated = "[{method: standard, weight_decay: 0.0}, {learning_rate: 0.1}, {method: moda, alpha: 2.0}]"
        assert list(mixed(f"search.baselines={stated}").search.baselines) == [
            {"method": "standard", "weight_decay": 0.0},
            {"method": "moda", "learning_rate": 0.1},
            {"method": "moda", "method.moda.alpha": 2.0},
            {"method": "standard", "learning_rate": 0.1},
        ]

    def test_the_reference_point_follows_from_one_that_is_standard(self, mixed):
        check_space(mixed("search.baselines=[{method: moda, alpha: 0.0, beta: 0.0, gamma: 0.0}]"))
        check_space(mixed("search.baselines=[{method: standard}]"))
        with pytest.raises(ConfigError, match=r"none of search\.baselines is known to be one"):
            check_space(mixed("search.baselines=[{method: moda}]"))


class TestFour:
    """MODA, MwT, NeMo and standard training: two alphas more, gates, and grids that not all have."""

    @pytest.fixture
    def four(self, configured):
        return configured("search.space.method={choices: [moda, mwt, nemo, standard]}")

    def test_coefficients_of_the_same_name_are_apart(self, four):
        own = {
            "moda": ["alpha", "beta", "gamma"], "mwt": ["alpha", "beta"], "nemo": ["alpha", "temperature"],
        }  # fmt: skip
        conditional = {f"method.{name}.{key}" for name, keys in own.items() for key in keys}
        assert set(four.search.space) == {"method", "learning_rate", "weight_decay"} | conditional
        trial = four.with_coefficients({"method": "nemo", "method.nemo.alpha": 0.7})
        assert (trial.method.coefficients["alpha"], trial.method.coefficients["temperature"]) == (0.7, 0.2)
        check_space(four)
        assert with_own_parts(four) == four

    def test_each_is_measured_by_the_rules_of_its_file(self, configured, four):
        assert four.evaluation.gate_shares == configured("method=mwt").evaluation.gate_shares
        for name in four.search.methods:
            alone = configured(f"method={name}")
            found = four.with_coefficients({"method": name})
            assert (found.training, found.evaluation) == (alone.training, alone.evaluation)

    def test_a_grid_of_one_method_may_be_stated(self, configured):
        stated = "search.methods.mwt.evaluation.gate_shares=[0.5, 0.9]"
        config = configured("search.space.method={choices: [moda, mwt]}", stated)
        assert config.evaluation.gate_shares == (0.5, 0.9)
        assert config.with_coefficients({"method": "mwt"}).evaluation.gate_shares == (0.5, 0.9)
        assert config.with_coefficients({"method": "moda"}).evaluation.gate_shares == ()

    def test_surfaces_are_of_the_rules_that_all_have(self, four):
        names = search_problem(four).free_names
        assert "gate_share" not in names
        assert set(names) == {"tau", "threshold", "target"}

    def test_the_order_of_the_choices_makes_no_other_networks(self, configured, four):
        turned = configured("search.space.method={choices: [mwt, standard, nemo, moda]}")
        for name in four.search.methods:
            one, other = (config.with_coefficients({"method": name}) for config in (four, turned))
            assert (one.method, one.training, one.evaluation) == (other.method, other.training, other.evaluation)


class TestRecord:
    def test_a_configuration_comes_back_from_its_record(self, mixed):
        config = mixed("search.space.method.moda.momentum={low: 0.8, high: 0.9}")
        assert parse_config(json.loads(json.dumps(to_plain(config)))) == config

    def test_a_sweep_of_one_method_is_recorded_as_before(self, configured):
        plain = to_plain(configured())
        assert "methods" not in plain["search"]
        assert "methods" not in identity(configured())

    def test_methods_and_what_they_bring_make_the_identity(self, configured, mixed):
        configs = [
            configured(), mixed(), configured("search.space.method={choices: [moda_published, standard]}"),
            mixed("search.methods.moda.method.gamma=1.0"), mixed("search.space.method.moda.gamma.high=5.0"),
        ]  # fmt: skip
        assert len({identity_hash(identity(config)) for config in configs}) == 5
        assert identity_hash(identity(mixed())) == identity_hash(identity(parse_config(to_plain(mixed()))))

    def test_single_trainings_and_sweeps_know_their_methods(self, configured, mixed):
        assert [method.name for method in mixed().methods] == ["moda", "standard"]
        assert [method.name for method in configured().methods] == ["moda"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "search.space.method.choices='nothing' is not known; known: "),
        (["method=moda"], "method=moda: this sweep has several methods; leave it out"),
        (["method.alpha=1"], "set a coefficient of one as search.methods.moda.method.<key>="),
        (["search.space.alpha.high=2"], "of which method? Write search.space.method.moda.alpha"),
        (["search.space.method.nemo.alpha.high=2"], "search.space.method='nemo' is not known; known: moda, standard"),
        (["search.methods.nemo.method.alpha=2"], "search.methods='nemo' is not known"),
        (["~search.space.method.standard.alpha"], "there is no search.space.method.standard.alpha"),
        (["search.methods.moda.method.delta=2"], "unknown key method.delta"),
        (["search.baselines=[{method: nemo}]"], "is not known; known: moda, standard"),
        (["search.baselines=[{alpha: 1.0}]"], "unknown key search.space.alpha"),
    ],
)
def test_what_cannot_be_is_refused(configured, overrides, message):
    names = "[moda, standard]" if overrides else "[moda, nothing]"
    with pytest.raises(ConfigError) as refused:
        check_space(configured(f"search.space.method={{choices: {names}}}", *overrides))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_method_of_one_s_own_brings_what_its_class_says(configured):
    mixed = configured("search.space.method={choices: [own, moda]}", f"search.methods.own.method.name={OWN}")
    config = with_own_parts(mixed)
    assert config.search.space["method.own.weight"] == Dimension(low=0.01, high=1.0, log=True)
    own = config.with_coefficients({"method": "own", "method.own.weight": 0.5})
    assert (own.method.name, own.method.coefficients["weight"]) == (OWN, 0.5)
    assert {"method": "own", "method.own.weight": 0.0} in config.search.baselines
    assert with_own_parts(config) == config
