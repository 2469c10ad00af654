"""Forward and backward of every cell by every engine, beside torch's own layers, in one run.

    python benchmarks/recurrence.py [--hidden 256 512] [--batch 32] [--time 100] [--repeats 10] [--cells lstm gru]

Prints a table of medians in milliseconds and, as its last line, the same as one JSON object.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from throughtime.nn import recurrence
from throughtime.nn.cells import Gru, Lstm, TanhRnn

CELLS = {"rnn": TanhRnn, "lstm": Lstm, "gru": Gru}
TORCH = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def medians(jobs: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Milliseconds of each job, measured in turns so that a disturbance meets them all."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
        job()
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    return {name: round(1000 * statistics.median(values), 2) for name, values in seconds.items()}
