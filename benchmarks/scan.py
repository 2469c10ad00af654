"""Linear recurrences by scan beside torch.nn.LSTM: forward and backward of one layer, from short to long.

    python benchmarks/scan.py [--repeats 5] [--lengths 1000 10000 100000] [--batches 32 1 1] [--hidden 256]

Milliseconds are medians; `per LSTM` is the time beside nn.LSTM's at the same length, `us per step` shows the growth.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measure import medians, show
from torch import Tensor, nn

from throughtime.nn import recurrence
from throughtime.nn.cells.minimal import MinGru, MinLstm
from throughtime.nn.cells.mlstm import Mlstm
from throughtime.nn.cells.qrnn import OutputQrnn
from throughtime.nn.cells.rg_lru import RgLru
from throughtime.nn.cells.sru import Sru

CELLS = {"mingru": MinGru, "minlstm": MinLstm, "sru": Sru, "qrnn": OutputQrnn, "rg_lru": RgLru, "mlstm": Mlstm}


def step(run: Callable[[Tensor], tuple[Tensor, Any]], inputs: Tensor) -> None:
    """One forward and backward."""
    run(inputs)[0].sum().backward()


def jobs_of(steps: int, batch: int, hidden: int) -> dict[str, Callable[[], None]]:
    """nn.LSTM and each cell, on the same inputs (batch, steps, hidden)."""
    inputs = torch.randn(batch, steps, hidden, requires_grad=True)
    jobs = {"nn.LSTM": partial(step, nn.LSTM(hidden, hidden, batch_first=True), inputs)}
    for name, kind in CELLS.items():
        jobs[name] = partial(step, partial(recurrence.run, kind(hidden, hidden), engine="scan"), inputs)
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 1, 1])
    parser.add_argument("--hidden", type=int, default=256)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for steps, batch in zip(given.lengths, given.batches, strict=True):
        times = medians(jobs_of(steps, batch, given.hidden), given.repeats)
        for name, milliseconds in times.items():
            ratios = {
                "per LSTM": round(milliseconds / times["nn.LSTM"], 2),
                "us per step": round(1000 * milliseconds / steps, 1),
            }
            rows.append({"time": steps, "batch": batch, "cell": name, "ms": milliseconds, **ratios})
    show(f"forward + backward by scan, hidden {given.hidden}", rows)


if __name__ == "__main__":
    main()
