"""Decompositions: what classes together are made of, and what is refused."""

import pytest
import torch

from moda_core import Decomposition, Scales

KEEP = [torch.tensor([[True, False], [True, True], [False, True]]), torch.eye(3, dtype=torch.bool)]
SUMS = (torch.tensor([[2.0, 4.0], [6.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0] * 3, [-3.0] * 3, [0.0] * 3]))
COUNTS = torch.tensor([2, 6, 0])
BIAS = torch.tensor([1.0, 2.0, 3.0])


def test_classes_together_have_the_union_the_mean_scale_and_their_own_bias():
    merged = Decomposition(KEEP, Scales(SUMS, COUNTS), BIAS).merge([1, 0])
    assert [keep_N.tolist() for keep_N in merged.keep] == [[True, True], [True, True, False]]
    assert [scale_N.tolist() for scale_N in merged.scales] == [[1.0, 0.5], [-0.25] * 3]
    assert merged.bias_T.tolist() == [2.0, 1.0]


def test_a_class_that_nothing_was_counted_of_has_scale_one():
    scales = Scales(SUMS, COUNTS)
    assert scales.merge([2])[0].tolist() == [1.0, 1.0]
    assert scales.merge([2, 0])[0].tolist() == [1.0, 2.0]
    subsets_SC = torch.tensor([[True, True, False], [False, False, True]])
    assert scales.of_subsets(subsets_SC)[0].tolist() == [[1.0, 0.5], [1.0, 1.0]]


def test_some_classes_alone_merge_to_the_same():
    whole = Decomposition(KEEP, Scales(SUMS, COUNTS), BIAS)
    part = whole.select([2, 0])
    found, expected = part.merge([1, 0]), whole.merge([0, 2])
    for ours, theirs in ((found.keep, expected.keep), (found.scales, expected.scales)):
        assert all(torch.equal(tensor, other) for tensor, other in zip(ours, theirs, strict=True))
    assert torch.equal(found.bias_T, expected.bias_T)
    assert (part.classes, part.is_plain, Decomposition(KEEP).is_plain) == (2, False, True)


def test_a_shared_module_has_the_same_units_with_all_classes():
    whole = Decomposition(KEEP, Scales(SUMS, COUNTS), BIAS)
    shared, module = whole.share([0, 1]), whole.merge([0, 1])
    for class_ids in ([0], [2, 1], [0, 1, 2]):
        found = shared.merge(class_ids)
        for ours, theirs in ((found.keep, module.keep), (found.scales, module.scales)):
            assert all(torch.equal(tensor, other) for tensor, other in zip(ours, theirs, strict=True))
    assert shared.bias_C is None
    assert Decomposition(KEEP).share([1]).is_plain


@pytest.mark.parametrize("class_ids", [[], [0, 0], [3], [-1]])
def test_wrong_classes_are_refused(class_ids):
    for call in (Decomposition(KEEP).merge, Decomposition(KEEP).select):
        with pytest.raises(ValueError, match="class_ids"):
            call(class_ids)


def sums(*changes):
    """The sums with some numbers changed."""
    changed = [tensor.clone() for tensor in SUMS]
    for site, row, column, number in changes:
        changed[site][row, column] = number
    return tuple(changed)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Decomposition([]), "no site"),
        (lambda: Decomposition([KEEP[0].float()]), r"mask of site 0: torch.float32 \(3, 2\); expected bool"),
        (lambda: Decomposition([KEEP[0][0]]), "mask of site 0"),
        (lambda: Decomposition([KEEP[0], KEEP[1][:2]]), r"mask of site 1: .*expected bool \(3, units\)"),
        (lambda: Decomposition(KEEP[:1], Scales(SUMS, COUNTS)), "expected those of the masks"),
        (lambda: Decomposition(KEEP, Scales(SUMS[::-1], COUNTS)), "expected those of the masks"),
        (lambda: Decomposition(KEEP, bias_C=BIAS[:2]), r"bias: .*expected floats of \(3,\)"),
        (lambda: Decomposition(KEEP, bias_C=BIAS.long()), r"bias: .*expected floats of \(3,\)"),
        (lambda: Decomposition(KEEP, bias_C=BIAS / 0), "bias: each number must lie within"),
        (lambda: Decomposition(KEEP, bias_C=BIAS * float("nan")), "bias: each number must lie within"),
        (lambda: Scales(SUMS, COUNTS[:2]), "scale sums of site 0"),
        (lambda: Scales((SUMS[0].long(),), COUNTS), "scale sums of site 0"),
        (lambda: Scales(SUMS, COUNTS > 0), "scale counts: torch.bool"),
        (lambda: Scales(SUMS, COUNTS[None]), "scale counts"),
        (lambda: Scales(SUMS, COUNTS - 1), "of at least 0"),
        (lambda: Scales(SUMS, COUNTS / 0), "scale counts must be finite"),
        (lambda: Scales(sums((0, 2, 0, 1.0)), COUNTS), r"site 0: sum / count must lie within \+- 1e\+06"),
        (lambda: Scales(sums((1, 0, 0, float("nan"))), COUNTS), "site 1: sum / count"),
        (lambda: Scales(sums((1, 0, 0, -3e6)), COUNTS), "site 1: sum / count"),
    ],
)
def test_what_is_no_decomposition_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
