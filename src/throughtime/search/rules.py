"""What may come next, whatever its probability: each rule takes log-probabilities and returns them with tokens ruled
out.

A rule takes the log-probabilities of a step, (sentences, width, vocabulary), and may write into them; it sees the open
hypotheses, `tokens` (sentences, width, time), and `sentences`, their places in the batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from throughtime import config
from throughtime.data.batch import pad
from throughtime.data.tokenizer import EOS, UNK

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
FREE = -1  # in a table of prefixes: nothing is forced here


@dataclass(frozen=True)
class Demands:
    """What the hypotheses of a batch must satisfy, as token ids: for each sentence a prefix that they begin with and
    the `phrases` that they contain; for all sentences, further phrases `contained`, and those that are `banned`. A
    prefix is never banned; only beam search takes phrases."""

    prefixes: Sequence[Sequence[int]] = ()
    phrases: Sequence[Sequence[Sequence[int]]] = ()
    contained: Sequence[Sequence[int]] = ()
    banned: Sequence[Sequence[int]] = ()

    def wanted(self, sentences: int) -> list[list[Sequence[int]]]:
        """All phrases that each sentence's hypotheses must contain."""
        return [[*row, *self.contained] for row in self.phrases or [()] * sentences]

    def of(self, places: Sequence[int]) -> "Demands":
        """The demands on some of the sentences."""
        prefixes, phrases = (
            [rows[place] for place in places] if rows else () for rows in (self.prefixes, self.phrases)
        )
        return Demands(prefixes, phrases, self.contained, self.banned)  # type: ignore[arg-type]


def banned(choice: config.Limits, encode: Callable[[str], list[int]]) -> list[list[int]]:
    """The texts of `search.banned` as token ids, both alone and after a space, as the tokenizer encodes them; what it
    has no tokens for can't be produced anyway."""
    ways = [encode(f"{space}{text}") for text in choice.banned for space in ("", " ")]
    return [ids for place, ids in enumerate(ways) if ids and UNK not in ids and ids not in ways[:place]]


def contained(choice: config.Search, encode: Callable[[str], list[int]]) -> list[list[int]]:
    """The texts of `search.contains` as token ids.

    Raises:
        Mistake: one that the tokenizer has no tokens for.
    """
    phrases = {text: encode(text) for text in choice.contains if text} if isinstance(choice, config.Beam) else {}
    for text, ids in phrases.items():
        if UNK in ids:
            raise config.wrong("search.contains", text, "texts of words or characters that the model knows")
    return list(phrases.values())


def rules(choice: config.Limits, demands: Demands, device: torch.device) -> Rule:
    """All rules of a search in one, for hypotheses on this device."""
    bans: list[Rule] = [without(phrase, device) for phrase in demands.banned]
    bans += [at_least(choice.min_length)] if choice.min_length > 1 else []
    bans += [without_repeated(choice.block_ngrams)] if choice.block_ngrams else []
    penalty: list[Rule] = [penalised(choice.repetition)] if choice.repetition != 1 else []
    everything = _all([*penalty, *bans])
    return prefixed(demands.prefixes, everything, device) if any(demands.prefixes) else everything


def _all(parts: Sequence[Rule]) -> Rule:
    """One rule after another; a hypothesis that no token may follow may end."""

    def rule(steps: Tensor, tokens: Tensor, sentences: Tensor) -> Tensor:
        if not parts:
            return steps
        end = steps[..., EOS].clone()
        for part in parts:
            steps = part(steps, tokens, sentences)
        stuck = steps.amax(dim=2) == -torch.inf
        steps[..., EOS] = torch.where(stuck, end, steps[..., EOS])
        return steps

    return rule


def at_least(length: int) -> Rule:
    """No hypothesis ends before it has `length` tokens, eos included."""

    def rule(steps: Tensor, tokens: Tensor, sentences: Tensor) -> Tensor:
        if tokens.shape[2] + 1 < length:
            steps[..., EOS] = -torch.inf
        return steps

    return rule


def without(phrase: Sequence[int], device: torch.device) -> Rule:
    """The phrase never occurs."""
    *before, last = phrase
    known = torch.tensor(before, device=device)

    def rule(steps: Tensor, tokens: Tensor, sentences: Tensor) -> Tensor:
        if tokens.shape[2] < len(before):
            return steps
        behind = tokens[..., tokens.shape[2] - len(before) :] == known
        steps[..., last].masked_fill_(behind.all(dim=2), -torch.inf)
        return steps

    return rule


def without_repeated(n: int) -> Rule:
    """No sequence of `n` tokens occurs twice (Paulus et al. 2018)."""

    def rule(steps: Tensor, tokens: Tensor, sentences: Tensor) -> Tensor:
        if tokens.shape[2] < n:
            return steps
        windows = tokens.unfold(2, n, 1)
        again = (windows[..., :-1] == tokens[..., None, tokens.shape[2] - n + 1 :]).all(dim=3)
        ban = torch.where(again, -torch.inf, torch.inf).to(steps.dtype)
        steps.scatter_reduce_(2, windows[..., -1], ban, "amin")
        return steps

    return rule


def penalised(factor: float) -> Rule:
    """The log-probability of a token that has already occurred is multiplied by `factor` (Keskar et al. 2019, section
    4.1, on log-probabilities, whose sign is known, instead of logits). Hypotheses add up the penalised ones."""

    def rule(steps: Tensor, tokens: Tensor, sentences: Tensor) -> Tensor:
        return steps.scatter_(2, tokens, factor * steps.gather(2, tokens))

    return rule


def prefixed(prefixes: Sequence[Sequence[int]], rule: Rule, device: torch.device) -> Rule:
    """Each sentence starts with its prefix, and `rule` governs what follows."""
    table = pad([list(prefix) for prefix in prefixes], FREE).to(device)

    def both(steps: Tensor, tokens: Tensor, sentences: Tensor) -> Tensor:
        if tokens.shape[2] >= table.shape[1]:
            return rule(steps, tokens, sentences)
        forced = table[sentences, tokens.shape[2]]
        at = forced.clamp(min=0)[:, None, None].expand(*tokens.shape[:2], 1)
        kept = steps.gather(2, at)
        free = rule(steps, tokens, sentences)
        only = torch.full_like(free, -torch.inf).scatter_(2, at, kept)
        return torch.where((forced == FREE)[:, None, None], free, only)

    return both
