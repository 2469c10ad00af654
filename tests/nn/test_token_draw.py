"""A token by chance, from one number a row."""

import math

import pytest
import torch

from throughtime.nn.token_draw import token_at

NEVER = -math.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_evenly_spread_numbers_give_each_token_its_share(dtype: torch.dtype) -> None:
    logits = torch.tensor([[NEVER, 0.3, -2.0, NEVER, 1.5, NEVER], [2.0, NEVER, NEVER, NEVER, 0.0, -3.0]], dtype=dtype)
    count = 100_000
    uniform = ((torch.arange(count) + 0.5) / count).expand(2, count)
    tokens = token_at(logits[:, None].expand(-1, count, -1), uniform[..., None])[..., 0]
    for row, drawn in zip(logits.double(), tokens, strict=True):
        share = torch.bincount(drawn, minlength=6).double() / count
        torch.testing.assert_close(share, row.softmax(dim=0), rtol=0, atol=2 / count)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_at_the_ends_too_only_what_is_possible_comes(uniform: float) -> None:
    logits = torch.randn(1000, 50)
    possible = torch.rand(1000, 50) < 0.5
    possible[:, 7] = True
    logits[~possible] = NEVER
    tokens = token_at(logits, torch.full((1000, 1), uniform, dtype=torch.float64))
    assert possible.gather(1, tokens).all()


def test_a_rare_token_is_not_lost() -> None:
    """Its share is below what float32 tells from 1."""
    logits = torch.tensor([[0.0, -20.0]])
    assert token_at(logits, torch.tensor([[1e-9]], dtype=torch.float64)).item() == 1
    assert token_at(logits, torch.tensor([[3e-9]], dtype=torch.float64)).item() == 0
