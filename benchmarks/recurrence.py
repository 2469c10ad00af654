"""One layer forward and backward: every cell by every engine beside torch's own layers, all in one run.

    python benchmarks/recurrence.py [--cells lstm gru] [--engines fused auto] [--hidden 256 512] [--batch 32] [--time 100]

On a GPU where there is one, else on the CPU; float32 (on a GPU both sides' products in TF32, as cuDNN's are by default), and
bf16 where the device multiplies in it. Milliseconds are medians. `per LSTM` is the time beside that of
nn.LSTM in the same precision, `per gate` the same for equally many gates (a gate being a product with the input and one with
the state, both hidden x hidden), `per float32` the time beside the cell's own in float32.
"""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from measure import medians, show
from torch import Tensor, nn

from throughtime import config
from throughtime.build.cells import cell_maker
from throughtime.compose import composed
from throughtime.nn import recurrence
from throughtime.nn.cells import Cell
from throughtime.nn.engines.native import KERNELS
from throughtime.nn.precision import why_not

ENGINES = ("loop", "fused", "auto", "native")
TORCH = {"nn.LSTM": nn.LSTM, "nn.GRU": nn.GRU, "nn.RNN": nn.RNN}
TORCH_GATES = {"nn.LSTM": 4, "nn.GRU": 3, "nn.RNN": 1}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PRECISIONS: dict[str, Callable[[], AbstractContextManager[Any]]] = {"float32": nullcontext}
if why_not("bf16", DEVICE) is None:
    PRECISIONS["bf16"] = partial(torch.autocast, DEVICE.type, torch.bfloat16)


def step(precision: str, run: Callable[[Tensor], tuple[Tensor, Any]], inputs: Tensor) -> None:
    """One forward and backward."""
    with PRECISIONS[precision]():
        outputs, _ = run(inputs)
    outputs.float().sum().backward()


def cell_of(name: str, hidden: int) -> Cell:
    """The cell of `cell=<name>`."""
    settings = config.check(composed("train", [f"cell={name}"]), config.TrainConfig)
    return cell_maker(settings.cell)(hidden, hidden).to(DEVICE)


def gates_of(cell: Cell) -> float:
    """How many gates the products of a step are."""
    weights = [cell.weight_input, *(weight for weight, _ in cell.matrices())]
    return sum(weight.numel() for weight in weights) / (2 * cell.hidden**2)


def engines_of(cell: Cell, engines: list[str]) -> list[str]:
    """Those of the engines that run a cell, the reference first."""
    return [engine for engine in ENGINES if engine in engines and (engine != "native" or type(cell) in KERNELS)]


def jobs_of(cells: list[str], engines: list[str], hidden: int, batch: int, time: int) -> dict[str, Callable[[], None]]:
    """Everything that is timed for one width, by `name engine precision`."""
    inputs = torch.randn(batch, time, hidden, device=DEVICE, requires_grad=True)
    jobs: dict[str, Callable[[], None]] = {}
    for precision in PRECISIONS:
        for name, kind in TORCH.items():
            layer = kind(hidden, hidden, batch_first=True, device=DEVICE)
            jobs[f"{name} torch {precision}"] = partial(step, precision, layer, inputs)
        for name in cells:
            cell = cell_of(name, hidden)
            for engine in engines_of(cell, engines):
                run = partial(recurrence.run, cell, engine=engine)
                jobs[f"{name} {engine} {precision}"] = partial(step, precision, run, inputs)
    return jobs


def rows_of(times: dict[str, float], hidden: int) -> list[dict[str, Any]]:
    """The table of one width."""
    rows = []
    for job, milliseconds in times.items():
        name, engine, precision = job.split()
        lstm, own = times[f"nn.LSTM torch {precision}"], times[f"{name} {engine} float32"]
        gates = TORCH_GATES[name] if engine == "torch" else gates_of(cell_of(name, hidden))
        row = {"hidden": hidden, "cell": name, "engine": engine, "precision": precision, "ms": milliseconds}
        ratios = {
            "per LSTM": milliseconds / lstm,
            "per gate": milliseconds / lstm * 4 / gates,
            "per float32": milliseconds / own,
        }
        rows.append(row | {key: round(ratio, 2) for key, ratio in ratios.items()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=["rnn", "lstm", "gru"])
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    parser.add_argument("--hidden", nargs="+", type=int, default=[256, 512])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--time", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=15)
    chosen = parser.parse_args()
    torch.set_float32_matmul_precision("high")  # as train.py
    rows = []
    for hidden in chosen.hidden:
        times = medians(jobs_of(chosen.cells, chosen.engines, hidden, chosen.batch, chosen.time), chosen.repeats)
        rows += rows_of(times, hidden)
    show(f"forward + backward, batch {chosen.batch}, time {chosen.time}", rows)


if __name__ == "__main__":
    main()
