"""The best extensions, against looking at all of them."""

import pytest
import torch

from throughtime.search.extensions import BLOCK, best_extensions


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("vocabulary", [5, 20 * BLOCK, 20 * BLOCK + 1, 125 * BLOCK - 1])
@pytest.mark.parametrize("possible", [1, 3, 40, None])
def test_are_the_largest_of_all_sums(width: int, vocabulary: int, possible: int | None) -> None:
    """However few tokens are possible, be it only those of the last, incomplete block: each is found, and once."""
    torch.manual_seed(0)
    steps, totals = torch.randn(6, width, vocabulary), torch.randn(6, width)
    if possible is not None:
        steps[..., : max(0, vocabulary - possible)] = -torch.inf
    found = best_extensions(steps, totals, 10)
    sums = totals[..., None] + steps
    count = min(10, sums[0].numel())
    assert torch.equal(found.log_probability, sums.flatten(1).topk(count).values)
    rows, real = torch.arange(6)[:, None], found.log_probability > -torch.inf
    assert torch.equal(sums[rows, found.parents, found.tokens][real], found.log_probability[real])
    places = found.parents * vocabulary + found.tokens
    for row, here in zip(places, real, strict=True):
        assert len(set(row[here].tolist())) == here.sum()
