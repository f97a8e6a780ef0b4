"""One bias for each class, added to the logits of composed modules, so that classes compete fairly for an image.

Shapes: P (image, subset) pairs, C classes.
"""

import torch
from torch import Tensor

RIDGE = 1e-3
TOLERANCE = 1e-9  # of the gradient, in nats
MOST_STEPS = 200
SUFFICIENT = 1e-4  # of the decrease that the slope promises, as Armijo's rule asks for


def fit_bias(
    logits_PC: Tensor, subsets_PC: Tensor, labels_P: Tensor, *, ridge: float = RIDGE, start_C: Tensor | None = None
) -> Tensor:
    """Fit the bias b that minimises the mean cross-entropy of softmax over T of (z_c + b_c), plus ridge / 2 x sum b^2.

    The problem is convex and is solved by Newton's method, so the result depends on nothing but the arguments. Adding a
    constant to all logits changes nothing. The bias sums to 0, and is 0 for a class that never competes.

    Args:
        logits_PC: z, the logits of the composed module of each pair's subset on its image; those of other classes do
            not matter.
        subsets_PC: boolean, the classes T of each pair's subset.
        labels_P: class id of the image, one of its subset.
        ridge: above 0; keeps the bias of a perfectly separated class finite.
        start_C: where to start, such as the bias of a similar problem.

    Returns:
        float64 (C,).

    Raises:
        ValueError: no pair, a label outside its subset, or a logit of a subset that is not finite.
    """
    if len(labels_P) == 0:
        raise ValueError("there is no (image, subset) pair to fit a bias on")
    if not bool(subsets_PC.gather(1, labels_P[:, None]).all()):
        raise ValueError("a pair's label is not in its subset")
    if not bool(logits_PC.masked_select(subsets_PC).isfinite().all()):
        raise ValueError("logits are not finite")
    logits_PC = logits_PC.double().masked_fill(~subsets_PC, -torch.inf)
    share_C = torch.bincount(labels_P, minlength=logits_PC.shape[1]).double() / len(labels_P)

    def loss(bias_C: Tensor) -> tuple[float, Tensor]:
        log_PC = torch.log_softmax(logits_PC + bias_C, 1)
        entropy = -log_PC.gather(1, labels_P[:, None]).mean()
        return float(entropy + ridge / 2 * bias_C.square().sum()), log_PC

    bias_C = torch.zeros_like(share_C) if start_C is None else start_C.double() - start_C.double().mean()
    value, log_PC = loss(bias_C)
    for _ in range(MOST_STEPS):
        probability_PC = log_PC.exp()
        mean_C = probability_PC.mean(0)
        slope_C = mean_C - share_C + ridge * bias_C
        if float(slope_C.abs().max()) < TOLERANCE:
            break
        curvature_CC = torch.diag(mean_C + ridge) - probability_PC.T @ probability_PC / len(labels_P)
        step_C = torch.linalg.solve(curvature_CC, slope_C)
        promised, length = float(slope_C @ step_C), 1.0
        after, log_PC = loss(bias_C - step_C)
        while after > value - SUFFICIENT * length * promised + 1e-14 * max(1.0, abs(value)) and length > 1e-12:
            length /= 2
            after, log_PC = loss(bias_C - length * step_C)
        bias_C, value = bias_C - length * step_C, after
    return bias_C
