"""Diverse beam search (Vijayakumar et al. 2016): groups that see what those before them chose in the same step."""

import torch
from torch import Tensor

from throughtime.search.extensions import Extensions, best_extensions, split


def best_in_groups(
    steps: Tensor, totals: Tensor, size: int, groups: int, diversity: float
) -> tuple[Extensions, Extensions]:
    """Ended and open extensions, each group's side by side, `size` hypotheses in all.

    steps (sentences, width, vocabulary), totals (sentences, width). For a group a token counts `diversity` less for
    each time that it is among the best of earlier groups (the Hamming diversity of section 4). This affects only what
    is chosen, not the log-probability.
    """
    width, vocabulary, each = steps.shape[1], steps.shape[2], size // groups
    taken = torch.zeros_like(steps[:, 0])
    parts: list[tuple[Extensions, Extensions]] = []
    for group in range(groups):
        mine = slice(0, 1) if width == 1 else slice(group * width // groups, (group + 1) * width // groups)
        found = best_extensions(steps[:, mine], totals[:, mine], 2 * each, -diversity * taken)
        found = found._replace(parents=found.parents + mine.start)
        real = found.log_probability[:, :each] > -torch.inf
        taken.scatter_add_(1, found.tokens[:, :each], real.to(taken.dtype))
        parts.append(split(found, each, min(each, (mine.stop - mine.start) * (vocabulary - 1))))
    ended, open_ = zip(*parts, strict=True)
    return Extensions.side_by_side(ended), Extensions.side_by_side(open_)
