"""Random units as the control of a module."""

import pytest
import torch

from moda_core import random_units
from tests.moda_core.conftest import random_decomposition

WIDTHS = (6, 40)


def test_a_control_keeps_as_many_units_of_each_site_with_the_scales_and_the_bias_of_the_classes():
    units = random_decomposition(WIDTHS, 5, seed=3)
    module, control = units.merge([1, 4]), random_units(units, [1, 4], seed=0).merge([1, 4])
    assert [int(keep.sum()) for keep in control.keep] == [int(keep.sum()) for keep in module.keep]
    assert not all(torch.equal(one, other) for one, other in zip(control.keep, module.keep, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(control.scales, module.scales, strict=True))
    assert torch.equal(control.bias_T, module.bias_T)


def test_a_draw_follows_from_its_seed_alone():
    units = random_decomposition(WIDTHS, 5, seed=3)
    first, again, other = (random_units(units, [0, 2], seed=seed).keep[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_over_many_draws_every_unit_is_kept_equally_often():
    units = random_decomposition(WIDTHS, 5, seed=3)
    share = float(units.merge([0]).keep[1].double().mean())
    drawn = torch.stack([random_units(units, [0], seed=seed).keep[1][0] for seed in range(2000)]).double().mean(0)
    assert drawn.sub(share).abs().max() < 0.06  # five deviations of 2,000 draws


def test_unknown_classes_are_refused():
    with pytest.raises(ValueError, match="class"):
        random_units(random_decomposition(WIDTHS, 5, seed=3), [5], seed=0)
