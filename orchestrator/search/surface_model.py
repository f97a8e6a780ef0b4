"""A Gaussian process of whole surfaces: every trial is observed on the same grid of free choices.

The covariance of trial i at choice g with trial j at choice h is A_ij B_gh: coefficients by grid, a Kronecker product,
so that a fit costs N^3 + G^3 and not (N G)^3. Two noises: one a trial, which moves the whole surface of a training in
the manner of B, and one a value:

    Y = F + E + e,   F ~ N(0, A (x) B),   E ~ N(0, n I (x) B),   e ~ N(0, v I)

F is what a training gives on average, and it is what is drawn. Coefficients act mostly alone and in pairs (Hutter et
al., 2014), so A is a product of 1 + w k_d over the dimensions, which holds every subset of them and leans to the small
ones; choices of one grid are alike by distance, choices of different grids by what all share.

A dimension that only some trials have, such as a coefficient of one method of several, is NaN in the others. Between
two trials that have it the factor is as above, and between two that do not have it 1. Between one of each it is
(1 + w)^-1/2, wherever the one is: they share the part that does not depend on the dimension. With a larger factor A
would be no covariance.

Shapes: N trials observed, H others, A both, T any, G choices, D dimensions of the space, E free parameters, S draws, P
hyper-parameters.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor

# Normal priors of the logarithms (of the logit, for `shared`): mean, standard deviation, and the bounds of the search.
# These are wide, for a search that knows nothing beforehand; experience.py has narrower ones.
# Lengths in sides of the unit cube, longer with more dimensions as in Hvarfner et al. (2024), but of a narrower prior:
# with a handful of trials the most probable length under a wide one is often that of a dimension that does not matter.
_SCALE, _INTERACTION, _SHARED = (0.0, 1.0, -4.0, 9.0), (0.0, 1.0, -4.0, 9.0), (-1.0, 1.5, -6.0, 4.0)
_TRIAL_NOISE, _VALUE_NOISE = (-4.0, 1.0, -18.0, 1.0), (-12.0, 3.0, -18.0, 1.0)
_LENGTH, _LENGTH_BOUNDS = (0.3, 0.5), (math.log(0.05), math.log(50.0))
_START = (-0.7, 0.0, 0.0, -1.0, -6.0, -8.0)  # of lengths, scale, interaction, shared, trial noise, value noise
_JITTER = 1e-7
_FIT_TRIALS = 64  # hyper-parameters are fitted on that many at most, evenly chosen; the posterior is of all
_FIT_ITERATIONS = 60


@dataclass(frozen=True)
class HyperPrior:
    """Independent normal priors of a model's hyper-parameters, the bounds that they are searched within, and where the
    search starts. In the order of :attr:`SurfaceModel.hyper_P`."""

    mean_P: Tensor
    deviation_P: Tensor
    low_P: Tensor
    high_P: Tensor
    start_P: Tensor


def wide_prior(dimensions: int, active: int, free: int) -> HyperPrior:
    """The prior where nothing is known beforehand.

    Args:
        dimensions: of the space.
        active: how many of them a trial has at most.
        free: how many parameters the grid has.
    """
    length = (_LENGTH[0] + math.log(active) / 2, _LENGTH[1], *_LENGTH_BOUNDS)
    free_length = (math.sqrt(2) + math.log(max(1, free)) / 2 - 1, math.sqrt(3), *_LENGTH_BOUNDS)
    rows = [length] * dimensions + [free_length] * free
    rows += [_SCALE, _INTERACTION, _SHARED, _TRIAL_NOISE, _VALUE_NOISE]
    start_P = torch.tensor([_START[0]] * (dimensions + free) + list(_START[1:]), dtype=torch.float64)
    mean_P, deviation_P, low_P, high_P = torch.tensor(rows, dtype=torch.float64).T
    return HyperPrior(mean_P, deviation_P, low_P, high_P, start_P)


@dataclass(frozen=True)
class Grid:
    """The free choices as the model sees them.

    Attributes:
        distances_EGG: squared distance in each free parameter, between its ranks scaled to [0, 1].
        alike_GG: 1 where two choices are of one grid, 0 where of different ones.
    """

    distances_EGG: Tensor
    alike_GG: Tensor


def make_grid(choices: list[dict[str, float | None]]) -> Grid:
    """From the choices, each with every free parameter's value or None where its grid does not know it."""
    names = list(choices[0])
    known_GE = torch.tensor([[choice[name] is not None for name in names] for choice in choices]).reshape(
        len(choices), len(names)
    )
    ranks = []
    for name in names:
        values = sorted({choice[name] for choice in choices if choice[name] is not None})  # type: ignore[type-var]
        step = 1.0 / max(1, len(values) - 1)
        ranks.append([0.0 if choice[name] is None else values.index(choice[name]) * step for choice in choices])
    ranks_EG = torch.tensor(ranks, dtype=torch.float64).reshape(len(names), len(choices))
    alike_GG = (known_GE[:, None] == known_GE[None]).all(-1).double()
    return Grid((ranks_EG[:, :, None] - ranks_EG[:, None, :]).square(), alike_GG)


def distances(a_AD: Tensor, b_BD: Tensor, categorical: list[bool]) -> Tensor:
    """(D, A, B) squared distances in the unit cube; 1 between different categories.

    A dimension that is not active is NaN. Between two such the distance is 0; between one and an active one there is
    none, NaN.
    """
    is_alone_DAB = a_AD.T.isnan()[:, :, None] != b_BD.T.isnan()[:, None, :]
    d_DAB = (a_AD.nan_to_num().T[:, :, None] - b_BD.nan_to_num().T[:, None, :]).square()
    d_DAB = torch.where(torch.tensor(categorical)[:, None, None], (d_DAB > 0).double(), d_DAB)
    return d_DAB.masked_fill(is_alone_DAB, math.nan)


class _NegativeLogLikelihood(torch.autograd.Function):
    """Of Y ~ N(0, A (x) B + v I), with the gradient in closed form: that of an eigendecomposition is not finite where
    eigenvalues coincide."""

    @staticmethod
    def forward(ctx: Any, A_NN: Tensor, B_GG: Tensor, v: Tensor, Y_NG: Tensor) -> Tensor:
        a_N, Q_NN = torch.linalg.eigh(A_NN)
        b_G, U_GG = torch.linalg.eigh(B_GG)
        D_NG = a_N[:, None] * b_G + v
        Z_NG = Q_NN.T @ Y_NG @ U_GG
        ctx.save_for_backward(A_NN, B_GG, a_N, Q_NN, b_G, U_GG, D_NG, Z_NG)
        loss: Tensor = 0.5 * ((Z_NG.square() / D_NG).sum() + D_NG.log().sum())
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        A_NN, B_GG, a_N, Q_NN, b_G, U_GG, D_NG, Z_NG = ctx.saved_tensors
        alpha_NG = Q_NN @ (Z_NG / D_NG) @ U_GG.T
        dA_NN = (Q_NN * (b_G / D_NG).sum(1)) @ Q_NN.T - alpha_NG @ B_GG @ alpha_NG.T
        dB_GG = (U_GG * (a_N[:, None] / D_NG).sum(0)) @ U_GG.T - alpha_NG.T @ A_NN @ alpha_NG
        dv = (1 / D_NG).sum() - alpha_NG.square().sum()
        half = 0.5 * upstream
        return half * dA_NN, half * dB_GG, half * dv, None


@dataclass(frozen=True)
class SurfaceModel:
    """One metric over coefficients and free choices.

    Attributes:
        x_ND: trials in the unit cube, float64; NaN in dimensions that they do not have.
        y_NG: their values.
        grid: of the choices.
        categorical: which dimensions are.
        hyper_P: logarithms of D lengths, E lengths of the grid, scale, interaction, then the logit of the shared part,
            and logarithms of the noises of a trial and of a value; of values scaled to mean 0 and deviation 1.
    """

    x_ND: Tensor
    y_NG: Tensor
    grid: Grid
    categorical: list[bool]
    hyper_P: Tensor

    @classmethod
    def fit(
        cls, x_ND: Tensor, y_NG: Tensor, grid: Grid, categorical: list[bool], prior: HyperPrior | None = None
    ) -> "SurfaceModel":
        """The most probable hyper-parameters, from one start, rounded so that the last bits of a sum do not matter.

        Without a prior, the wide one.
        """
        active = int((~x_ND.isnan()).sum(1).max())
        prior = prior or wide_prior(x_ND.shape[1], active, len(grid.distances_EGG))
        some = torch.linspace(0, len(x_ND) - 1, min(len(x_ND), _FIT_TRIALS)).round().long()
        hyper_P = prior.start_P.clone()
        model = cls(x_ND[some], y_NG[some], grid, categorical, hyper_P.requires_grad_())
        values_NG, d_DNN = model._scaled()[0], distances(model.x_ND, model.x_ND, categorical)

        def negative_log_posterior(values_P: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            with torch.no_grad():
                hyper_P.copy_(torch.from_numpy(values_P))
            loss = _NegativeLogLikelihood.apply(*model._covariances(d_DNN), values_NG)  # type: ignore[no-untyped-call]
            loss = loss + 0.5 * ((hyper_P - prior.mean_P) / prior.deviation_P).square().sum()
            (gradient_P,) = torch.autograd.grad(loss, hyper_P)
            return loss.item(), gradient_P.numpy()

        with threadpool_limits(limits=1, user_api="blas"):  # L-BFGS is slower with threads: matrices are small
            found = minimize(
                negative_log_posterior,
                hyper_P.detach().clone().numpy(),
                method="L-BFGS-B",
                jac=True,
                bounds=list(zip(prior.low_P.tolist(), prior.high_P.tolist(), strict=True)),
                options={"maxiter": _FIT_ITERATIONS},
            )
        return replace(model, x_ND=x_ND, y_NG=y_NG, hyper_P=(torch.from_numpy(found.x) * 100).round() / 100)

    def draw(self, x_HD: Tensor, count: int, spread: float, rng: np.random.Generator) -> "Draws":
        """Joint draws of F at the observed trials and at others, by Matheron's rule.

        Args:
            x_HD: the others, in the unit cube.
            count: of draws.
            spread: draws deviate from their mean by that much of what they would; 1 for F's own distribution.
            rng: where they come from.
        """
        _, _, b_G, U_GG = self._spectra
        n, v = self.hyper_P[-2:].exp()
        N, x_AD = len(self.x_ND), torch.cat([self.x_ND, x_HD])
        root_AA = _root(self._coefficients(distances(x_AD, x_AD, self.categorical)))

        def normal(rows: int) -> Tensor:
            return torch.from_numpy(spread * rng.standard_normal((rows, count, len(b_G))))

        prior_ASG, luck_SG = normal(len(x_AD)) * b_G.sqrt(), normal(1)[0] * b_G.sqrt()
        seen_NSG = torch.tensordot(root_AA[:N], prior_ASG, 1) + normal(N) * (n * b_G + v).sqrt()
        weights_ASG = torch.linalg.solve_triangular(root_AA.T, prior_ASG.flatten(1), upper=True).view_as(prior_ASG)
        weights_ASG[:N] += self._weights((self._scaled()[0] @ U_GG)[:, None] - seen_NSG)
        return Draws(self, x_AD, root_AA, weights_ASG, luck_SG)

    def mean(self, x_TD: Tensor) -> Tensor:
        """(T, G) posterior means of F."""
        U_GG = self._spectra[-1]
        y_NG, mean, deviation = self._scaled()
        K_TN = self._coefficients(distances(x_TD, self.x_ND, self.categorical))
        return K_TN @ self._weights((y_NG @ U_GG)[:, None])[:, 0] @ U_GG.T * deviation + mean

    def product(self, one_NG: Tensor, other_NG: Tensor) -> float:
        """The scalar product of two deviations of the trials' surfaces in which Y's covariance is the unit: large where
        they are unlikely."""
        a_N, Q_NN, b_G, U_GG = self._spectra
        D_NG = a_N[:, None] * b_G + self.hyper_P[-1].exp()
        _, _, deviation = self._scaled()
        whole = (Q_NN.T @ one_NG @ U_GG) * (Q_NN.T @ other_NG @ U_GG) / D_NG
        return float(whole.sum() / deviation.square())

    @cached_property
    def _spectra(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Eigenvalues and eigenvectors of A, with the noise of a trial, and of B."""
        A_NN, B_GG, _ = self._covariances(distances(self.x_ND, self.x_ND, self.categorical))
        b_G, U_GG = torch.linalg.eigh(B_GG)
        return *torch.linalg.eigh(A_NN), b_G.clamp_min(0.0), U_GG

    def _weights(self, values_NSG: Tensor) -> Tensor:
        """(A (x) B + v I)^-1 of values, times B: what covariances with the trials are multiplied by to predict.

        Here and in Draws surfaces are in the basis of B's eigenvectors, where the G entries are independent.
        """
        a_N, Q_NN, b_G, _ = self._spectra
        shrunk_NG = b_G / (a_N[:, None] * b_G + self.hyper_P[-1].exp())
        weights_NSG: Tensor = torch.tensordot(Q_NN, torch.tensordot(Q_NN.T, values_NSG, 1) * shrunk_NG[:, None], 1)
        return weights_NSG

    def _scaled(self) -> tuple[Tensor, Tensor, Tensor]:
        mean, deviation = self.y_NG.mean(), self.y_NG.std().clamp_min(1e-9)
        return (self.y_NG - mean) / deviation, mean, deviation

    def _coefficients(self, d_DAB: Tensor) -> Tensor:
        lengths_D = self.hyper_P[: len(d_DAB)].exp()
        scale, interaction = self.hyper_P[-5].exp(), self.hyper_P[-4].exp()
        k_DAB = torch.exp(-0.5 * d_DAB.nan_to_num() / lengths_D.square()[:, None, None])
        factor_DAB = (1 + interaction * k_DAB) / (1 + interaction)
        product_AB: Tensor = torch.where(d_DAB.isnan(), (1 + interaction).rsqrt(), factor_DAB).prod(0)
        return scale * product_AB

    def _covariances(self, d_DNN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A with the noise of a trial, B, and the variance of the noise of a value."""
        lengths_E = self.hyper_P[len(d_DNN) : -5].exp()
        shared, n, v = torch.sigmoid(self.hyper_P[-3]), self.hyper_P[-2].exp(), self.hyper_P[-1].exp()
        alike_GG = torch.exp(-0.5 * (self.grid.distances_EGG / lengths_E.square()[:, None, None]).sum(0))
        B_GG = shared + (1 - shared) * self.grid.alike_GG * alike_GG
        A_NN = self._coefficients(d_DNN) + n * torch.eye(d_DNN.shape[-1], dtype=torch.float64)
        return A_NN, B_GG, v


@dataclass(frozen=True)
class Draws:
    """Draws of F: joint ones at trials, and given those at any coefficients.

    Attributes:
        model: of F.
        x_AD: the trials, observed ones first.
        root_AA: of their covariance.
        weights_ASG: what covariances with them are multiplied by to predict.
        luck_SG: how F deviates from what is predicted, for a variance of 1.
    """

    model: SurfaceModel
    x_AD: Tensor
    root_AA: Tensor
    weights_ASG: Tensor
    luck_SG: Tensor

    def at(self, x_TD: Tensor) -> Tensor:
        """(S, T, G) surfaces, each drawn jointly with the trials. They share their luck, so that few draws compare
        them."""
        model = self.model
        K_TA = model._coefficients(distances(x_TD, self.x_AD, model.categorical))
        known_T = torch.linalg.solve_triangular(self.root_AA, K_TA.T, upper=False).square().sum(0)
        left_T = (self.root_AA[0, 0].square() - known_T).clamp_min(0.0)  # of a variance that is the same everywhere
        drawn_TSG = torch.tensordot(K_TA, self.weights_ASG, 1) + left_T.sqrt()[:, None, None] * self.luck_SG
        _, mean, deviation = model._scaled()
        surfaces_TSG: Tensor = drawn_TSG @ model._spectra[-1].T * deviation + mean
        return surfaces_TSG.transpose(0, 1)


def _root(K: Tensor) -> Tensor:
    """A square root of a covariance that may be singular to rounding."""
    root: Tensor = torch.linalg.cholesky(K + _JITTER * K.diagonal().mean() * torch.eye(len(K), dtype=torch.float64))
    return root
