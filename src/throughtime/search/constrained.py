"""Lexically constrained beam search: hypotheses that contain given phrases, whatever the model would have said.

There is a beam of `size` for every number of phrase tokens that a hypothesis can contain so far (grid beam search,
Hokamp and Liu 2017), so that those that contain fewer, and are more probable for it, never crowd out those that contain
more. All tokens of phrases are tried at every step, so the beam of hypotheses that lack nothing is reached after as
many steps as the phrases have tokens, and only there may a hypothesis end.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from throughtime.data.tokenizer import EOS
from throughtime.search.extensions import Extensions, best_extensions
from throughtime.search.finished import grown

NO_TOKEN = -1


class Phrases:
    """The phrases of each sentence of a batch, as token ids."""

    def __init__(self, phrases: Sequence[Sequence[Sequence[int]]], device: torch.device):
        most = max(len(row) for row in phrases)
        longest = max(len(phrase) for row in phrases for phrase in row)
        table = torch.full((len(phrases), most, longest), NO_TOKEN)
        for sentence, row in enumerate(phrases):
            for place, phrase in enumerate(row):
                table[sentence, place, : len(phrase)] = torch.tensor(phrase)
        self._table = table.to(device)  # (sentences, phrases, longest)
        self.tokens = max(sum(map(len, row)) for row in phrases)

    def lacking(self, tokens: Tensor, sentences: Tensor) -> Tensor:
        """(running, width, time) and the sentences' places in the batch -> (running, width), how many tokens of phrases
        are still missing: all those of missing phrases, less the longest start of one that a hypothesis ends with."""
        table = self._table[sentences]
        lengths = (table != NO_TOKEN).sum(dim=2)[:, None]  # (running, 1, phrases)
        begun = torch.zeros(*tokens.shape[:2], table.shape[1], dtype=torch.long, device=tokens.device)
        come = lengths.expand_as(begun) == 0
        for length in range(1, min(table.shape[2], tokens.shape[2]) + 1):
            start = table[:, None, :, None, :length]  # (running, 1, phrases, 1, length)
            same = (tokens.unfold(2, length, 1)[:, :, None] == start).all(dim=4)  # (running, width, phrases, windows)
            come = come | (same.any(dim=3) & (lengths == length))
            begun = torch.where(same[..., -1], length, begun)
        missing = (lengths * ~come).sum(dim=2)
        return missing - torch.where(come, 0, begun).amax(dim=2)

    def next_tokens(self, sentences: Tensor) -> Tensor:
        """(running, phrases x longest): all tokens of phrases, padded with eos."""
        table = self._table[sentences].flatten(1)
        return torch.where(table == NO_TOKEN, EOS, table)


def best_with(
    phrases: Phrases, tokens: Tensor, sentences: Tensor, steps: Tensor, totals: Tensor, size: int
) -> tuple[Extensions, Extensions]:
    """Ended extensions of hypotheses that lack nothing, and open ones, `size` for each number of missing tokens.

    tokens (running, width, time), sentences (running,), steps (running, width, vocabulary), totals (running, width).
    """
    incomplete = phrases.lacking(tokens, sentences) > 0
    steps[..., EOS] = steps[..., EOS].masked_fill(incomplete, -torch.inf)
    extensions = Extensions.side_by_side(
        [best_extensions(steps, totals, 2 * size * (phrases.tokens + 1)), _tried(phrases, sentences, steps, totals)]
    )
    extensions = _each_once(extensions, steps.shape[2])
    lacking = phrases.lacking(grown(tokens, extensions.parents, extensions.tokens), sentences)
    ends = extensions.tokens == EOS
    complete = _best(extensions, lacking == 0, size)
    ended = complete._replace(log_probability=complete.log_probability.masked_fill(complete.tokens != EOS, -torch.inf))
    banks = [_best(extensions, (lacking == count) & ~ends, size) for count in range(phrases.tokens + 1)]
    return ended, Extensions.side_by_side(banks)


def _tried(phrases: Phrases, sentences: Tensor, steps: Tensor, totals: Tensor) -> Extensions:
    """Every hypothesis extended by every token of a phrase."""
    width, tokens = steps.shape[1], phrases.next_tokens(sentences)
    tokens = tokens[:, None].expand(-1, width, -1)
    log_probability = totals[..., None] + steps.gather(2, tokens)
    parents = torch.arange(width, device=steps.device)[None, :, None].expand_as(tokens)
    return Extensions(parents.flatten(1), tokens.flatten(1), log_probability.flatten(1))


def _each_once(extensions: Extensions, vocabulary: int) -> Extensions:
    """The same extensions, with repetitions at -inf."""
    places, order = (extensions.parents * vocabulary + extensions.tokens).sort(dim=1, stable=True)
    again = torch.zeros_like(places, dtype=torch.bool)
    again[:, 1:] = places[:, 1:] == places[:, :-1]
    repeated = torch.zeros_like(again).scatter(1, order, again)
    return extensions._replace(log_probability=extensions.log_probability.masked_fill(repeated, -torch.inf))


def _best(extensions: Extensions, among: Tensor, count: int) -> Extensions:
    """The `count` most probable of those `among` (sentences, found); if there are fewer, the rest is at -inf."""
    kept = extensions.log_probability.masked_fill(~among, -torch.inf)
    log_probability, places = kept.topk(min(count, kept.shape[1]), dim=1)
    return Extensions(extensions.parents.gather(1, places), extensions.tokens.gather(1, places), log_probability)
