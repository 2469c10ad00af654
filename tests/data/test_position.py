"""A restored position goes on where it was, whatever an epoch is cut into now."""

import pytest

from throughtime import config
from throughtime.data.position import Position


@pytest.mark.parametrize("count", [3, 7, 20])
def test_behind_a_whole_epoch_comes_the_next(count: int) -> None:
    before, now = Position(7), Position(count)
    before.epoch, before.done = 2, 7
    now.load_state_dict(before.state_dict())
    now.begin()
    assert (now.epoch, now.done) == (3, 0)


def test_an_epoch_under_way_keeps_its_batches() -> None:
    before = Position(7)
    before.done = 4
    same, other = Position(7), Position(5)
    same.load_state_dict(before.state_dict())
    same.begin()
    assert (same.epoch, same.done) == (0, 4)
    with pytest.raises(config.Mistake, match="7 batches, of which 4 are done: .* and these make 5"):
        other.load_state_dict(before.state_dict())
