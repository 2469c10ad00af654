"""What the decoder is fed in training: the target's words, some perhaps replaced by unknown or by the model's own."""

import math

import torch
from torch import Tensor

from throughtime import config
from throughtime.data.tokenizer import UNK


def own_share(choice: config.Teacher, step: int) -> float:
    """The share of the model's own words after `step` steps: 1 - epsilon in Bengio et al. 2015, section 2.4."""
    match choice:
        case config.ConstantTeacher():
            return choice.share
        case config.LinearTeacher():
            return choice.share * min(1.0, step / choice.steps)
        case config.InverseSigmoidTeacher():
            return 1.0 / (1.0 + choice.steps * math.exp(-step / choice.steps))
        case _:
            return 0.0


def some_places(tokens: Tensor, share: float) -> Tensor:
    """A random share of the places of tokens (batch, time), never the first, which is bos."""
    places = torch.rand(tokens.shape) < share
    places[:, 0] = False
    return places.to(tokens.device, non_blocking=True)


def with_unknown(tokens: Tensor, rate: float) -> Tensor:
    """The tokens (batch, time), all but the first replaced by unknown at a rate (Bowman et al. 2016, section 3.1)."""
    return tokens.masked_fill(some_places(tokens, rate), UNK) if rate else tokens
