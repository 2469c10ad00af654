"""A device for machines that have none: its tensors hold their values on the CPU, say that they lie on torch's device
`meta`, and refuse to be mixed with any that do not. Whoever asks for one of their values waits for the device, and is
counted."""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten
ELSEWHERE = torch.device("meta")
TELL_VALUES = [aten._local_scalar_dense.default, aten.equal.default]
WAIT = [*TELL_VALUES, aten.nonzero.default, aten.masked_select.default, aten.repeat_interleave.Tensor]
OF_TWO = [aten.copy_.default]  # which takes tensors of two devices
PACK = [aten._pack_padded_sequence.default, aten._pad_packed_sequence.default]  # whose lengths lie on the CPU
PACKED = [aten.lstm.data, aten.gru.data, aten.rnn_tanh.data, aten.rnn_relu.data]


class Elsewhere(Tensor):
    """A tensor of the device; `here` are its values."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "Elsewhere":
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.size(), here.stride(), here.storage_offset(), dtype=here.dtype, device=ELSEWHERE
        )
        made.here = here
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{function} is called where the device is switched off")


class Device(TorchDispatchMode):
    """Where tensors of the device can be used; `waits` counts by operation how often somebody waited for a value."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = Counter[str]()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        given, asked = tree_leaves((args, named)), named.get("device")
        away = any(isinstance(one, Elsewhere) for one in given)
        if function is aten._to_copy.default:
            return self._carried(args, named, away)
        if not away and asked != ELSEWHERE:
            return function(*args, **named)
        if function not in OF_TWO + PACK + PACKED:
            strangers = [
                one for one in given if isinstance(one, Tensor) and not isinstance(one, Elsewhere) and one.dim()
            ]
            assert not strangers, f"{function} mixes devices"
        self._count(function, args)
        named |= {"device": torch.device("cpu")} if asked else {}
        found = function(*_here(args), **_here(named))
        return self._put(function, args, kwargs, found)

    def _carried(self, args: Any, named: dict[str, Any], away: bool) -> Tensor:
        """From device to device, or to another type."""
        target = torch.device(named.pop("device", None) or (ELSEWHERE if away else "cpu"))
        if (away and target != ELSEWHERE) or (not away and target == ELSEWHERE and not named.get("non_blocking")):
            self.waits[f"to {target}"] += 1
        found = aten._to_copy.default(*_here(args), **named)
        return Elsewhere(found) if target == ELSEWHERE else found

    def _count(self, function: Any, args: Any) -> None:
        masked = function is aten.index.Tensor and any(one is not None and one.dtype == torch.bool for one in args[1])
        if function in WAIT or masked or (function in OF_TWO and not isinstance(args[0], Elsewhere)):
            self.waits[str(function)] += 1

    @staticmethod
    def _put(function: Any, args: Any, kwargs: Any, found: Any) -> Any:
        """What an operation found, where it lies."""
        if function in TELL_VALUES:
            return found
        if function in PACK:
            return Elsewhere(found[0]), found[1]
        if function in OF_TWO and not isinstance(args[0], Elsewhere):
            return args[0]
        return return_and_correct_aliasing(function, args, kwargs, tree_map_only(Tensor, Elsewhere, found))


def _here(tree: Any) -> Any:
    return tree_map_only(Elsewhere, lambda one: one.here, tree)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """The device, switched on. Of what torch does not let its modes see, `tensor` is brought there, and autocast is off."""
    plain = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda data, device=None, **named: plain(data, **named).to(device))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    with Device() as switched_on:
        yield switched_on
