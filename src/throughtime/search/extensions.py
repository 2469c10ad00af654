"""The best extensions of a sentence's hypotheses by one token, found without sorting all of them."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from throughtime.data.tokenizer import EOS

BLOCK = 64  # tokens whose maximum is compared before any of them


class Extensions(NamedTuple):
    """Hypotheses with one more token: `parents`, places among the sentence's hypotheses, `tokens`, and
    `log_probability` of the whole; each (sentences, found). -inf marks placeholders."""

    parents: Tensor
    tokens: Tensor
    log_probability: Tensor

    @staticmethod
    def side_by_side(parts: "Iterable[Extensions]") -> "Extensions":
        """The extensions of all parts."""
        return Extensions(*(torch.cat(columns, dim=1) for columns in zip(*parts, strict=True)))


def best_extensions(steps: Tensor, totals: Tensor, count: int, handicap: Tensor | None = None) -> Extensions:
    """The `count` most probable extensions of each sentence, or all, best first.

    `steps`: (sentences, width, vocabulary), the tokens' log-probabilities; `totals`: (sentences, width), those of the
    hypotheses so far; `handicap`: (sentences, vocabulary), added to the tokens' only to choose.
    """
    values = steps if handicap is None else steps + handicap[:, None]
    parents, tokens = _largest(values, totals[..., None], min(count, values[0].numel()))
    filler, tokens = tokens >= steps.shape[2], tokens.clamp(max=steps.shape[2] - 1)
    probable = totals.gather(1, parents) + steps.flatten(1).gather(1, parents * steps.shape[2] + tokens)
    return Extensions(parents, tokens, probable.masked_fill(filler, -torch.inf))


def _largest(values: Tensor, offsets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of the largest of values + offsets, (sentences, width, vocabulary) + (sentences, width, 1); where too
    few are above -inf, columns beyond the last may be among them.

    The `count` largest are in the `count` blocks with the largest maxima, so nothing else is sorted.
    """
    vocabulary = values.shape[2]
    if values.shape[1] * vocabulary <= 2 * count * BLOCK:
        places = (values + offsets).flatten(1).topk(count).indices
        return places // vocabulary, places % vocabulary
    whole = pad(values, (0, -vocabulary % BLOCK), value=-torch.inf) if vocabulary % BLOCK else values
    blocks = whole.unflatten(2, (-1, BLOCK))
    in_row = blocks.shape[2]
    chosen = (blocks.amax(dim=3) + offsets).flatten(1).topk(count).indices
    inside = blocks.flatten(1, 2).gather(1, chosen[..., None].expand(-1, -1, BLOCK))
    places = (inside + offsets[..., 0].gather(1, chosen // in_row)[..., None]).flatten(1).topk(count).indices
    block = chosen.gather(1, places // BLOCK)
    return block // in_row, block % in_row * BLOCK + places % BLOCK


def split(extensions: Extensions, size: int, width: int) -> tuple[Extensions, Extensions]:
    """The first `size`, with those that do not end in eos at -inf; and the first `width` that do not end."""
    ends = extensions.tokens == EOS
    best = Extensions(*(column[:, :size] for column in extensions))
    ended = best._replace(log_probability=best.log_probability.masked_fill(~ends[:, :size], -torch.inf))
    places = ends.argsort(dim=1, stable=True)[:, :width]
    return ended, Extensions(*(column.gather(1, places) for column in extensions))
