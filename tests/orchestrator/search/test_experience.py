"""What trainings of other networks say beforehand: of which problems, what, and that a sweep's own data overrule it."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.runs.proposals import search_problem
from orchestrator.search import POOLS
from orchestrator.search.curve import CurveSearcher
from orchestrator.search.experience import Experience, experience_of, read_pool
from orchestrator.search.problem import History, Problem
from orchestrator.search.surface_model import SurfaceModel, make_grid, wide_prior

SGD = {"optimizer": "sgd"}
TARGETS = [0.01, 0.05, 0.2]
COEFFICIENTS = {"alpha": 0.3, "beta": 0.0, "gamma": 1.5, "learning_rate": 0.08, "weight_decay": 0.003}


def problem(space=None, targets=TARGETS, **changes):
    given = {
        "space": space or read_pool("vgg").space,
        "free": [{"tau": [0.5, 0.9]}, {"target": targets}],
        "objectives": {"calibrated_reuse_accuracy": "max", "cut_size": "min"},
        "scales": {"cut_size": "log"},
        "shares": ["calibrated_reuse_accuracy"],
        "targets": {"cut_size": "target"},
        "reference": {"calibrated_reuse_accuracy": 0.5, "cut_size": 1.0},
        "fixed": SGD,
        "experience": POOLS,
    }
    return Problem(**{**given, **changes})


def effects(of, coefficients):
    return experience_of(of).effects(np.array([of.to_unit(coefficients)]))


class TestPools:
    def test_they_are_of_the_default_space_and_its_targets(self):
        default = search_problem(load_config([]))
        for name in POOLS:
            pool = read_pool(name)
            assert pool.space == default.space
            assert set(pool.targets) <= {choice["target"] for choice in default.surface_choices}

    def test_a_training_of_the_pool_is_expected_to_be_as_it_was(self):
        """The trainings' noise is left out, so not exactly."""
        pool = read_pool("resnet")
        model = pool.model
        deviations_NG = (model.y_NG - model.y_NG.mean(0)).numpy()
        assert np.corrcoef(pool.effects(model.x_ND.numpy()).ravel(), deviations_NG.ravel())[0, 1] > 0.9

    def test_the_default_experience_is_of_the_method_moda(self):
        assert load_config([]).search.experience == POOLS
        assert load_config(["method=standard"]).search.experience == ()

    def test_an_unknown_pool_is_refused(self):
        with pytest.raises(ConfigError, match=r"search.experience='lenet'.*vgg"):
            load_config(["search.experience=[lenet]"])


class TestWhatIsSaid:
    def test_it_is_the_mean_of_the_pools(self):
        of = problem()
        single = [effects(problem(experience=[name]), COEFFICIENTS) for name in POOLS]
        np.testing.assert_allclose(effects(of, COEFFICIENTS), np.mean(single, axis=0), rtol=1e-12)

    def test_it_is_of_coefficients_wherever_they_lie_in_a_space(self):
        narrow = {name: {**dimension, "zero": False} for name, dimension in problem().space.items()}
        narrow["gamma"] = {"low": 1.0, "high": 2.0, "log": True}
        narrow["learning_rate"] = {"low": 0.0, "high": 1.0}
        inside = {**COEFFICIENTS, "beta": 0.05}
        shuffled = {"momentum": {"low": 0.5, "high": 0.99}, **dict(reversed(narrow.items()))}
        there = {**inside, "momentum": 0.9}
        np.testing.assert_allclose(effects(problem(shuffled), there), effects(problem(), inside), rtol=1e-9)

    def test_what_is_not_searched_has_its_value(self):
        space = {name: dimension for name, dimension in problem().space.items() if name in ("gamma", "weight_decay")}
        fixed = {name: value for name, value in COEFFICIENTS.items() if name not in space}
        searched = problem(space, fixed={**SGD, **fixed})
        np.testing.assert_allclose(effects(searched, COEFFICIENTS), effects(problem(), COEFFICIENTS), rtol=1e-9)

    def test_beyond_the_ends_it_is_that_of_the_ends(self):
        wide = {**problem().space, "gamma": {"low": 1e-3, "high": 100.0, "log": True}}
        beyond, end = ({**COEFFICIENTS, "gamma": gamma} for gamma in (90.0, 10.0))
        np.testing.assert_allclose(effects(problem(wide), beyond), effects(problem(), end), rtol=1e-9)
        far = problem(targets=[1e-4, 0.9])
        first, last = read_pool("vgg").targets[0], read_pool("vgg").targets[-1]
        np.testing.assert_allclose(effects(far, end), effects(problem(targets=[first, last]), end), rtol=1e-9)

    @pytest.mark.parametrize(
        "changes",
        [
            {"experience": ()},
            {"fixed": {"optimizer": "adamw"}},
            {"free": {"tau": [0.5, 0.9]}},  # surfaces over something else
            {"space": {"gamma": {"low": 0.1, "high": 1.0, "log": True}}},  # and nothing is known of the others
            {"space": {**read_pool("vgg").space, "gamma": {"choices": ["low", "high"]}}},
            {
                "space": {
                    "method": {"choices": ["moda", "mwt"]},
                    **read_pool("vgg").space,
                    "gamma": {"low": 0.1, "high": 1.0, "log": True, "where": {"method": "moda"}},
                }
            },
        ],
    )
    def test_there_are_problems_of_which_nothing_is_said(self, changes):
        assert experience_of(problem()) is not None
        assert experience_of(problem(**changes)) is None

    def test_two_methods_have_no_experience_in_common(self):
        config = load_config(["search.space.method={choices: [moda, standard]}"])
        assert experience_of(search_problem(config)) is None


class TestWeight:
    @pytest.mark.parametrize("share", [0.0, 0.6, 1.2])
    def test_it_is_how_much_of_what_is_expected_is_seen(self, share, monkeypatch):
        monkeypatch.setattr("orchestrator.search.experience.WEIGHT_DEVIATION", 100.0)  # nothing is believed before
        experience = experience_of(problem())
        x_ND = np.random.default_rng(1).random((12, 5))
        seen_NG = 2.0 + share * experience.effects(x_ND)
        assert experience.weight(x_ND, seen_NG) == pytest.approx(share, abs=0.02)

    def test_it_stays_between_nothing_and_somewhat_more_than_all(self):
        experience = experience_of(problem())
        x_ND = np.random.default_rng(1).random((12, 5))
        opposite, thrice = (factor * experience.effects(x_ND) for factor in (-1, 3))
        assert experience.weight(x_ND, opposite) == 0.0
        assert experience.weight(x_ND, thrice) == 1.5

    def test_what_is_believed_before_is_hard_to_overrule_if_it_is_sure(self, monkeypatch):
        monkeypatch.setattr("orchestrator.search.experience.WEIGHT_DEVIATION", 1e-3)
        experience = experience_of(problem())
        x_ND = np.random.default_rng(1).random((12, 5))
        assert experience.weight(x_ND, -experience.effects(x_ND)) == pytest.approx(0.75, abs=0.01)


class TestHyperParameters:
    def test_lengths_are_those_of_the_pools_by_ratio(self):
        halved = {**problem().space, "gamma": {"low": 0.3, "high": 0.3 * math.sqrt(10.0 / 0.03), "log": True}}
        own = {"momentum": {"low": 0.5, "high": 0.99}}
        whole, part = (experience_of(problem({**space, **own})).hyper_prior for space in (problem().space, halved))
        place = list(halved).index("gamma")
        difference_P = part.mean_P - whole.mean_P
        assert difference_P[place].item() == pytest.approx(math.log(2))
        assert difference_P.abs().sum().item() == pytest.approx(math.log(2))
        wide = wide_prior(6, 6, 2)
        assert part.mean_P[5] == wide.mean_P[5]
        assert part.deviation_P[5] == wide.deviation_P[5]

    def test_the_length_along_target_sizes_is_at_the_place_of_its_parameter(self):
        learnt = experience_of(problem()).hyper_prior
        wide = wide_prior(5, 5, 2)
        names = list(problem().surface_choices[0])
        assert learnt.mean_P[5 + names.index("tau")] == wide.mean_P[5 + names.index("tau")]
        expected = torch.stack([read_pool(name).model.hyper_P[5] for name in POOLS]).mean()
        assert learnt.mean_P[5 + names.index("target")] == expected


class TestSearch:
    def test_two_trainings_are_enough_to_leave_chance(self):
        of = problem()
        trained = [{**COEFFICIENTS, "gamma": gamma} for gamma in (0.3, 1.5)]
        points = [
            {"trial_id": f"t-{number}", **coefficients, "tau": None, "target": target}
            | {"calibrated_reuse_accuracy": 0.7 + target / 10, "cut_size": target}
            for number, coefficients in enumerate(trained)
            for target in TARGETS
        ]
        trials = [
            {"trial_id": f"t-{number}", "number": number, "status": "finished", "reason": None} for number in range(2)
        ]
        known = History(pa.Table.from_pylist(trials), pa.Table.from_pylist(points))
        by_chance = CurveSearcher(problem(experience=())).propose(known, [], 0)
        proposed = CurveSearcher(of).propose(known, [], 0)
        assert proposed != by_chance
        assert effects(of, proposed).mean() > effects(of, by_chance).mean()

    def test_trials_that_begin_before_any_has_ended_are_not_left_to_chance(self):
        """As many as a cluster runs at once, after two that are under way."""
        waiting = [{**COEFFICIENTS, "gamma": gamma} for gamma in (0.3, 1.5)]
        by_chance, proposed = [], []
        for number in range(4):
            by_chance.append(CurveSearcher(problem(experience=())).propose(History(), [*waiting, *by_chance], number))
            proposed.append(CurveSearcher(problem()).propose(History(), [*waiting, *proposed], number))
        gains = [np.mean([effects(problem(), each).mean() for each in found]) for found in (by_chance, proposed)]
        assert gains[1] > gains[0] + 0.1
        assert len({tuple(coefficients.values()) for coefficients in proposed}) == 4

    def test_what_is_not_known_of_every_metric_begins_by_chance(self):
        waiting = [{**COEFFICIENTS, "gamma": gamma} for gamma in (0.3, 1.5)]
        objectives = {"calibrated_reuse_accuracy": "max", "cut_size": "min", "accuracy": "max"}
        three, none = (
            problem(objectives=objectives, reference=None, experience=experience) for experience in (POOLS, ())
        )
        proposed = [CurveSearcher(of).propose(History(), waiting, 0) for of in (three, none)]
        assert proposed[0] == proposed[1]

    def test_what_is_seen_overrules_it(self):
        """Trainings for which the opposite is true of what is expected of them."""
        of = problem(targets=read_pool("vgg").targets)
        experience = Experience(of, [read_pool("vgg")])
        x_ND = np.random.default_rng(0).random((60, 5))
        seen_NG = -experience.effects(x_ND)
        known, left = x_ND[:40], x_ND[40:]
        deviations = torch.from_numpy(seen_NG[:40] - experience.effects(known))
        grid = make_grid(of.surface_choices)
        model = SurfaceModel.fit(torch.from_numpy(known), deviations, grid, [False] * 5, experience.hyper_prior)
        guess_TG = model.mean(torch.from_numpy(left)).numpy() + experience.effects(left)
        assert np.corrcoef(guess_TG.ravel(), seen_NG[40:].ravel())[0, 1] > 0.7
