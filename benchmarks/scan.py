"""Linear recurrences by scan against torch.nn.LSTM: forward and backward of one layer, at a short and a long length.

    python benchmarks/scan.py [--rounds 5] [--lengths 1000 10000 100000] [--batches 32 1 1] [--hidden 256]

All contestants of a length take turns, round by round, so that what else the machine does meets them alike. Prints a
table of medians in milliseconds and, as its last line, one JSON object with them.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from throughtime.nn import recurrence
from throughtime.nn.cells.minimal import MinGru, MinLstm
from throughtime.nn.cells.mlstm import Mlstm
from throughtime.nn.cells.qrnn import OutputQrnn
from throughtime.nn.cells.rg_lru import RgLru
from throughtime.nn.cells.sru import Sru

CELLS = {"mingru": MinGru, "minlstm": MinLstm, "sru": Sru, "qrnn": OutputQrnn, "rg_lru": RgLru, "mlstm": Mlstm}
Job = Callable[[], Tensor]


def jobs(steps: int, batch: int, hidden: int, device: str) -> dict[str, Job]:
    """Each contestant's forward pass, on the same inputs (batch, steps, hidden)."""
    inputs = torch.randn(batch, steps, hidden, device=device, requires_grad=True)
    found: dict[str, Job] = {}
    lstm = nn.LSTM(hidden, hidden, batch_first=True, device=device)
    found["nn.LSTM"] = lambda: lstm(inputs)[0]
    for name, kind in CELLS.items():
        cell = kind(hidden, hidden).to(device)
        found[name] = lambda cell=cell: recurrence.run(cell, inputs, engine="scan")[0]
    return found


def milliseconds(job: Job, device: str) -> float:
    """One forward and backward pass."""
    begun = time.perf_counter()
    job().sum().backward()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begun)


def medians(contestants: dict[str, Job], rounds: int, device: str) -> dict[str, float]:
    """The first round warms up and does not count."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, job in contestants.items():
            taken[name].append(milliseconds(job, device))
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


def shown(results: dict[str, dict[str, float]]) -> Table:
    """A row for each contestant, a column for each length."""
    table = Table(title="forward + backward, milliseconds (x nn.LSTM)")
    for column in ["", *results]:
        table.add_column(column, justify="right")
    for name in next(iter(results.values())):
        cells = [f"{found[name]:,.1f} ({found[name] / found['nn.LSTM']:.2f})" for found in results.values()]
        table.add_row(name, *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 1, 1])
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    results = {}
    for steps, batch in zip(given.lengths, given.batches, strict=True):
        contestants = jobs(steps, batch, given.hidden, given.device)
        results[f"T={steps} B={batch}"] = medians(contestants, given.rounds, given.device)
    Console().print(shown(results))
    print(json.dumps({"hidden": given.hidden, "device": given.device, "milliseconds": results}))


if __name__ == "__main__":
    main()
