"""A restored position goes on where it was, whatever an epoch is cut into now."""

import pytest

from throughtime import config
from throughtime.data.position import Position


@pytest.mark.parametrize("count", [3, 7, 20])
def test_behind_a_whole_epoch_comes_the_next(count: int) -> None:
    before, now = Position(7, {"batch.columns": 4}), Position(count, {"batch.columns": count})
    before.epoch, before.done = 2, 7
    now.load_state_dict(before.state_dict())
    now.begin()
    assert (now.epoch, now.done) == (3, 0)


OTHER = [
    ({"tbptt.name": "fixed", "tbptt.chunk": 26}, r"tbptt\.chunk=26: allowed is 30 until the end of the epoch that"),
    ({"tbptt.name": "windows", "tbptt.stride": 9}, r"tbptt=windows: allowed is fixed until"),
    ({"tbptt.name": "fixed"}, r"tbptt\.chunk=null: allowed is 30 until"),
]


@pytest.mark.parametrize(("cut", "sentence"), OTHER)
def test_an_epoch_under_way_keeps_its_batches(cut: dict, sentence: str) -> None:
    """Equally many of them may be others."""
    ours = {"tbptt.name": "fixed", "tbptt.chunk": 30}
    before = Position(7, ours)
    before.done = 4
    same, other = Position(7, ours), Position(7, cut)
    same.load_state_dict(before.state_dict())
    same.begin()
    assert (same.epoch, same.done) == (0, 4)
    with pytest.raises(config.Mistake, match=sentence):
        other.load_state_dict(before.state_dict())
