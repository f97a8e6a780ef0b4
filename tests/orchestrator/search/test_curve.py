"""The curve search: its model against a dense Gaussian process, its gains against moocore, and what it proposes."""

import logging

import moocore
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search import make_searcher
from orchestrator.search.gain import expected_gains, front
from orchestrator.search.problem import History, Problem
from orchestrator.search.surface_model import SurfaceModel, _NegativeLogLikelihood, distances, make_grid
from orchestrator.search.surfaces import read_surfaces

CHOICES = Problem(
    {"a": {"low": 0, "high": 1}}, [{"tau": [0.5, 0.7, 0.9], "threshold": [0, 0.1]}, {"level": [0.1, 1.0]}], {}
).choices
HYPER = torch.tensor([-0.5, 0.2, 0.1, -0.3, 0.4, 0.5, 0.3, -1.0, -4.0, -5.0], dtype=torch.float64)


def model(trials=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_ND = torch.rand(trials, 2, generator=generator, dtype=torch.float64)
    y_NG = torch.randn(trials, len(CHOICES), generator=generator, dtype=torch.float64)
    return SurfaceModel(x_ND, y_NG, make_grid(CHOICES), [False, False], HYPER)


def dense(one, x_TD):
    """Mean and covariance of F at x_TD x choices, and the log likelihood, by plain linear algebra on all rows."""
    lengths, scale, interaction = HYPER[:2].exp(), HYPER[-5].exp(), HYPER[-4].exp()
    shared, n, v = torch.sigmoid(HYPER[-3]), HYPER[-2].exp(), HYPER[-1].exp()

    def coefficients(a, b):
        k = torch.exp(-0.5 * (a[:, None] - b[None]).square() / lengths.square())
        return scale * ((1 + interaction * k) / (1 + interaction)).prod(-1)

    B = torch.empty(len(CHOICES), len(CHOICES), dtype=torch.float64)
    ranks = {"tau": [0.5, 0.7, 0.9], "threshold": [0, 0.1], "level": [0.1, 1.0]}
    for i, left in enumerate(CHOICES):
        for j, right in enumerate(CHOICES):
            same = all((left[name] is None) == (right[name] is None) for name in ranks)
            far = 0.0
            for name, length in zip(ranks, HYPER[2:5].exp(), strict=True):
                if left[name] is not None and right[name] is not None:
                    step = ranks[name].index(left[name]) - ranks[name].index(right[name])
                    far += (step / (len(ranks[name]) - 1) / length) ** 2
            B[i, j] = shared + (1 - shared) * same * torch.exp(torch.as_tensor(-0.5 * far))
    mean, deviation = one.y_NG.mean(), one.y_NG.std()
    y = ((one.y_NG - mean) / deviation).reshape(-1)
    eye = torch.eye(len(one.x_ND), dtype=torch.float64)
    noisy = torch.kron(coefficients(one.x_ND, one.x_ND) + n * eye, B) + v * torch.eye(len(y), dtype=torch.float64)
    cross = torch.kron(coefficients(x_TD, one.x_ND), B)
    posterior = cross @ torch.linalg.solve(noisy, y)
    covariance = torch.kron(coefficients(x_TD, x_TD), B) - cross @ torch.linalg.solve(noisy, cross.T)
    loss = -torch.distributions.MultivariateNormal(torch.zeros_like(y), noisy).log_prob(y)
    return posterior.reshape(len(x_TD), -1) * deviation + mean, covariance * deviation**2, loss


class TestModel:
    def test_means_are_those_of_all_rows_at_once(self):
        one, x_TD = model(), torch.rand(4, 2, dtype=torch.float64)
        expected, _, _ = dense(one, x_TD)
        torch.testing.assert_close(one.mean(x_TD), expected, rtol=1e-9, atol=1e-9)

    def test_draws_have_the_mean_and_the_covariance_of_all_rows_at_once(self):
        """At trials that are observed, at one that is not, and at each of others together with those."""
        one, x_TD = model(trials=3), torch.rand(3, 2, dtype=torch.float64)
        draws = one.draw(x_TD[:1], 40_000, 0.5, np.random.default_rng(1))
        for x_D in x_TD[1:]:
            joint_TD = torch.cat([x_TD[:1], x_D[None]])
            drawn = draws.at(torch.cat([one.x_ND, joint_TD])).flatten(1)
            mean, covariance, _ = dense(one, torch.cat([one.x_ND, joint_TD]))
            spread = covariance.diagonal().max().sqrt()
            assert (drawn.mean(0) - mean.flatten()).abs().max() < 0.015 * spread
            assert (torch.cov(drawn.T) - covariance / 4).abs().max() < 0.0125 * spread**2

    def test_the_likelihood_is_that_of_all_rows_at_once(self):
        one = model()
        values = (one.y_NG - one.y_NG.mean()) / one.y_NG.std()
        covariances = one._covariances(distances(one.x_ND, one.x_ND, one.categorical))
        loss = _NegativeLogLikelihood.apply(*covariances, values)
        constant = values.numel() / 2 * np.log(2 * np.pi)
        assert float(loss + constant) == pytest.approx(float(dense(one, one.x_ND)[2]), rel=1e-9)

    def test_the_product_of_two_deviations_is_that_of_all_rows_at_once(self):
        one, rng = model(trials=3), np.random.default_rng(2)
        a_NG, b_NG = (torch.from_numpy(rng.normal(size=one.y_NG.shape)) for _ in range(2))
        A_NN, B_GG, v = one._covariances(distances(one.x_ND, one.x_ND, one.categorical))
        noisy = torch.kron(A_NN, B_GG) + v * torch.eye(a_NG.numel(), dtype=torch.float64)
        expected = a_NG.flatten() @ torch.linalg.solve(noisy, b_NG.flatten()) / one.y_NG.std() ** 2
        assert one.product(a_NG, b_NG) == pytest.approx(float(expected), rel=1e-9)

    def test_the_likelihoods_gradient(self):
        one = model(trials=4)

        def loss(hyper_P):
            changed = SurfaceModel(one.x_ND, one.y_NG, one.grid, one.categorical, hyper_P)
            covariances = changed._covariances(distances(one.x_ND, one.x_ND, one.categorical))
            return _NegativeLogLikelihood.apply(*covariances, one.y_NG)

        assert torch.autograd.gradcheck(loss, [HYPER.clone().requires_grad_()])

    def test_a_fit_learns_a_surface_and_its_noise(self):
        rng = np.random.default_rng(0)
        x = rng.random((40, 2))
        tau = np.array([one["tau"] or one["level"] for one in CHOICES])
        clean = np.sin(3 * x[:, :1]) + x[:, 1:] * tau
        noise = 0.1 * rng.normal(size=(40, 1)) * np.ones(len(CHOICES))  # a training's luck moves its whole surface
        fitted = SurfaceModel.fit(torch.from_numpy(x), torch.from_numpy(clean + noise), make_grid(CHOICES), [False] * 2)
        new = rng.random((50, 2))
        truth = np.sin(3 * new[:, :1]) + new[:, 1:] * tau
        error = fitted.mean(torch.from_numpy(new)).numpy() - truth
        assert np.sqrt(np.mean(error**2)) < 0.06
        of_a_trial, of_a_value = (fitted.hyper_P[-2:].exp().sqrt() * (clean + noise).std()).tolist()
        assert 0.03 < of_a_trial < 0.2
        assert of_a_value < of_a_trial / 3

    def test_categories_are_as_far_from_each_other_as_can_be(self):
        a_AD = torch.tensor([[0.25, 0.1], [0.75, 0.1]], dtype=torch.float64)
        assert distances(a_AD, a_AD, [True, False])[0].tolist() == [[0.0, 1.0], [1.0, 0.0]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 4]))
def test_gains_are_differences_of_hypervolumes(seed, width):
    rng = np.random.default_rng(seed)
    archive_SPM = rng.integers(0, 12, (2, rng.integers(0, 6), width)) / 10.0  # with ties, and beyond the reference
    sets_SCGM = rng.integers(0, 12, (2, 3, 4, width)) / 10.0
    reference = np.ones(width)

    def volume(points):
        return moocore.hypervolume(points, ref=reference) if len(points) else 0.0

    expected = [
        np.mean([volume(np.concatenate([a, s[c]])) - volume(a) for a, s in zip(archive_SPM, sets_SCGM, strict=True)])
        for c in range(3)
    ]
    fronts = [front(archive_PM, reference) for archive_PM in archive_SPM]
    np.testing.assert_allclose(expected_gains(fronts, sets_SCGM, reference), expected, atol=1e-12)


SPACE = {"x": {"low": 0.01, "high": 1.0, "log": True}, "y": {"low": 0.0, "high": 1.0}}
OBJECTIVES = {"quality": "max", "size": "min"}
TAUS = [0.1, 0.5, 0.9]


def problem(**changes):
    given = {"space": SPACE, "free": {"tau": TAUS}, "objectives": OBJECTIVES, "seed": 3}
    return Problem(**{**given, "reference": {"quality": 0.0, "size": 1.0}, **changes})


def surface(x, y, tau):
    """Best for y = 0.7; x trades quality for size, and so does tau."""
    size = 0.1 + 0.4 * x + 0.3 * (1 - tau) + (y - 0.7) ** 2
    return {"quality": 1 - tau**2 / 2 - (y - 0.7) ** 2 + 0.3 * x, "size": size, "accuracy": 1 - y / 2}


def history(searcher, count, evaluate=surface, pending=()):
    trials, points = [], []
    for number in range(count):
        known = History(pa.Table.from_pylist(trials), pa.Table.from_pylist(points)) if trials else History()
        found = searcher.propose(known, list(pending), number)
        row = {"trial_id": f"t-{number:04d}", "number": number, "status": "finished", "reason": None, **found}
        values = [evaluate(found["x"], found["y"], tau) for tau in TAUS]
        if any(one is None for one in values):
            row.update(status="diverged", reason="NaN")
        else:
            points += [{**row, "tau": tau, **one} for tau, one in zip(TAUS, values, strict=True)]
        trials.append(row)
    return History(pa.Table.from_pylist(trials), pa.Table.from_pylist(points))


class TestSearch:
    def test_it_goes_where_the_front_is(self):
        known = history(make_searcher("curve", problem()), 14)
        late = known.trials.slice(5)["y"].to_numpy()
        assert np.median(np.abs(late - 0.7)) < 0.1

    def test_it_starts_in_the_middle_unless_a_trial_in_the_space_is_known_or_under_way(self):
        searcher, quasi_random = make_searcher("curve", problem()), make_searcher("sobol", problem())
        outside, inside = {"x": 2.0, "y": 0.0}, {"x": 0.1, "y": 0.6}
        middle = {"x": pytest.approx(problem().from_unit([0.5, 0.5])["x"], rel=1e-3), "y": 0.5}
        assert searcher.propose(History(), [outside], 0) == middle
        assert searcher.propose(History(), [inside], 0) == quasi_random.propose(History(), [inside], 0)
        known = history(searcher, 1)
        assert searcher.propose(known, [], 0) == quasi_random.propose(known, [], 0)

    def test_proposals_depend_on_what_is_given_alone(self):
        known = history(make_searcher("curve", problem()), 8)
        waiting = [{"x": 0.1, "y": 0.6}]
        seasoned = make_searcher("curve", problem())
        seasoned.propose(history(seasoned, 6), [], 6)
        shuffled = History(known.trials.take([3, 1, 0, 2, 7, 6, 5, 4]), known.points.take(list(range(23, -1, -1))))
        expected = make_searcher("curve", problem()).propose(known, waiting, 8)
        assert seasoned.propose(known, waiting, 8) == expected
        assert make_searcher("curve", problem()).propose(shuffled, waiting, 8) == expected
        assert make_searcher("curve", problem(seed=4)).propose(known, waiting, 8) != expected

    def test_what_is_under_way_is_not_proposed_again(self):
        searcher = make_searcher("curve", problem())
        known = history(searcher, 8)
        first = searcher.propose(known, [], 8)
        again = searcher.propose(known, [first], 8)
        assert np.linalg.norm(np.subtract(problem().to_unit(first), problem().to_unit(again))) > 0.02

    def test_trials_outside_the_space_count_for_the_archive_alone(self):
        searcher, known = make_searcher("curve", problem()), history(make_searcher("curve", problem()), 8)
        outside = {"trial_id": "baseline", "x": 2.0, "y": 0.7, "tau": 0.5, "quality": 5.0, "size": 0.0, "accuracy": 1.0}
        rows = pa.Table.from_pylist([*known.points.to_pylist(), outside])
        found = read_surfaces(problem(), History(known.trials, rows))
        assert len(found.x_ND) == 8
        assert found.others_PV.tolist() == [[5.0, 0.0]]
        # It dominates whatever can be reached: nothing is expected to gain.
        assert searcher.propose(History(known.trials, rows), [], 8) == make_searcher("sobol", problem()).propose(
            known, [], 8
        )

    def test_a_zero_outside_a_logarithmic_dimension_is_as_the_least_of_it(self):
        trial = {"trial_id": "baseline", "number": 0, "status": "finished", "reason": None, "x": 0.0, "y": 0.7}
        points = [{**trial, "tau": tau, **surface(0.0, 0.7, tau)} for tau in TAUS]
        found = read_surfaces(problem(), History(pa.Table.from_pylist([trial]), pa.Table.from_pylist(points)))
        assert found.x_ND.tolist() == [[0.0, 0.7]]
        assert problem().to_unit({"x": 0.0, "y": 0.7}) is None  # it is no proposal

    def test_a_stalled_search_says_so(self, caplog):
        known = history(make_searcher("curve", problem()), 6)
        outside = {"trial_id": "baseline", "x": 2.0, "y": 0.7, "tau": 0.5, "quality": 5.0, "size": 0.0, "accuracy": 1.0}
        rows = pa.Table.from_pylist([*known.points.to_pylist(), outside])
        with caplog.at_level(logging.WARNING):
            make_searcher("curve", problem()).propose(History(known.trials, rows), [], 6)
        assert "trial 6 is quasi-random" in caplog.text

    def test_constraints_keep_it_in_the_feasible_part(self):
        known = history(make_searcher("curve", problem(constraints=["accuracy >= 0.8"])), 14)
        late = known.trials.slice(6)["y"].to_numpy()  # accuracy >= 0.8 where y <= 0.4
        assert np.mean(late <= 0.42) > 0.6

    def test_it_learns_where_training_fails(self):
        def fails(x, y, tau):
            return None if y > 0.6 else surface(x, y, tau)  # the best place lies where training diverges

        known = history(make_searcher("curve", problem()), 18, fails)
        late = known.trials.slice(10)["status"].to_pylist()
        assert late.count("diverged") <= 3

    def test_without_a_reference_it_takes_the_worst_values(self, caplog):
        with caplog.at_level(logging.INFO):
            known = history(make_searcher("curve", problem(reference=None)), 10)
        assert "the reference point is the worst values so far" in caplog.text
        assert np.median(np.abs(known.trials.slice(5)["y"].to_numpy() - 0.7)) < 0.2

    def test_nothing_free_and_three_objectives(self):
        three = Problem(SPACE, {}, {**OBJECTIVES, "accuracy": "max"}, seed=3)
        searcher, trials, points = make_searcher("curve", three), [], []
        for number in range(8):
            tables = (pa.Table.from_pylist(trials), pa.Table.from_pylist(points)) if trials else ()
            found = searcher.propose(History(*tables), [], number)
            row = {"trial_id": f"t-{number}", "number": number, "status": "finished", **found}
            trials.append(row)
            points.append({**row, **surface(found["x"], found["y"], 0.5)})
        assert len({row["x"] for row in trials}) == 8

    def test_categories_and_whole_numbers(self):
        space = {"kind": {"choices": ["bad", "good"]}, "width": {"low": 1, "high": 4, "integer": True}, "y": SPACE["y"]}
        searcher, trials, points = make_searcher("curve", problem(space=space)), [], []
        for number in range(16):
            tables = (pa.Table.from_pylist(trials), pa.Table.from_pylist(points)) if trials else ()
            found = searcher.propose(History(*tables), [], number)
            assert found["kind"] in ("bad", "good")
            assert found["width"] in (1, 2, 3, 4)
            row = {"trial_id": f"t-{number:02d}", "number": number, "status": "finished", **found}
            trials.append(row)
            x = found["width"] / 4 + (0 if found["kind"] == "good" else 1)
            points += [{**row, "tau": tau, **surface(x, found["y"], tau), "quality": 1.0 - x / 4} for tau in TAUS]
        assert [row["kind"] for row in trials[8:]].count("good") >= 6


TARGETS = [0.01, 0.1, 1.0]
AIMING = {
    "space": SPACE,
    "free": [{"tau": TAUS}, {"target": TARGETS}],
    "objectives": OBJECTIVES,
    "reference": {"quality": 0.8, "size": 1.0},
    "scales": {"size": "log"},
    "targets": {"size": "target"},
}


def rows_at_targets(trial_id, x, y, qualities, sizes):
    """Points of a trial at the targets, and one that was chosen by tau."""
    row = {"trial_id": trial_id, "x": x, "y": y}
    aimed = [
        {**row, "tau": None, "target": target, "quality": quality, "size": size}
        for target, quality, size in zip(TARGETS, qualities, sizes, strict=True)
    ]
    return [*aimed, {**row, "tau": 0.5, "target": None, "quality": 0.97, "size": 0.3}]


class TestTargetSizes:
    def test_a_surface_is_qualities_at_targets(self):
        """Sizes are those aimed at; one that came out twice as large has the worst quality of all."""
        rows = [
            *rows_at_targets("t-0", 0.1, 0.5, [0.7, 0.8, 0.9], [0.0101, 0.099, 0.4]),
            *rows_at_targets("t-1", 0.1, 0.6, [0.75, 0.6, 0.95], [0.02, 0.1, 1.0]),
        ]
        trials = [
            {"trial_id": f"t-{place}", "number": place, "status": "finished", "reason": None, "x": 0.1, "y": y}
            for place, y in enumerate([0.5, 0.6])
        ]
        known = History(pa.Table.from_pylist(trials), pa.Table.from_pylist(rows))
        found = read_surfaces(Problem(**AIMING), known)
        assert found.values_NGV[..., 0].tolist() == [[0.7, 0.8, 0.9], [0.6, 0.6, 0.95]]
        assert found.values_NGV[..., 1].tolist() == [[-2.0, -1.0, 0.0]] * 2
        assert found.others_PV.tolist() == []  # the points chosen by tau are of trials that have surfaces

    def test_without_an_objective_that_they_aim_at_targets_are_free_choices_as_others(self):
        no_size = Problem(**{**AIMING, "objectives": {"quality": "max", "accuracy": "max"}})
        assert len(no_size.surface_choices) == len(no_size.choices) == 6
        assert no_size.targeted_objectives == {}

    def test_it_finds_where_small_modules_are_good(self):
        """Quality at small sizes is best at y = 0.7; far below the reference it is much worse still, which counts for
        nothing."""
        aiming = Problem(**AIMING, seed=1)
        searcher, trials, points = make_searcher("curve", aiming), [], []
        for number in range(8):
            known = History(pa.Table.from_pylist(trials), pa.Table.from_pylist(points)) if trials else History()
            found = searcher.propose(known, [], number)
            off = abs(found["y"] - 0.7)
            qualities = [0.95 - off - 8 * off**2 - lost for lost in (0.1, 0.05, 0.0)]
            trials.append({"trial_id": f"t-{number}", "number": number, "status": "finished", "reason": None, **found})
            points += rows_at_targets(f"t-{number}", found["x"], found["y"], qualities, TARGETS)
        assert min(abs(row["y"] - 0.7) for row in trials) < 0.01
