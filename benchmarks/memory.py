"""Peak memory of a language model's gradient against the length of the text: truncated, full, and full by checkpoints.

    python benchmarks/memory.py [--lengths 1000 10000 100000] [--columns 1] [--hidden 64] [--vocabulary 256] [--chunk 64]

Each number comes from a process of its own: the megabytes by which a pass over the text, forward and backward, raises the
peak of its resident memory above that of a pass over 100 tokens. `tbptt=fixed` and `windows` go through the text chunk by
chunk, the other two take it whole.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
from measure import show

from throughtime import build, config
from throughtime.compose import composed
from throughtime.data.stream import ChunkLoader
from throughtime.nn.models import LanguageModel
from throughtime.train.through_time import read, read_checkpointed

WARM_UP = 100  # tokens, that take what every run takes: libraries, threads, the weights and their gradients

# so that glibc returns what is freed at once, and the peak is what is needed rather than what lies between the needed
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def tbptt_of(name: str, chunk: int) -> config.Tbptt:
    """`tbptt=name` with chunks of so many steps, windows twice as long."""
    choices = {
        "fixed": config.FixedChunks("fixed", chunk),
        "windows": config.Windows("windows", chunk, 2 * chunk),
        "off": config.FullBptt("off"),
        "checkpointed": config.CheckpointedBptt("checkpointed", None),
    }
    return choices[name]


def model_of(given: argparse.Namespace) -> LanguageModel:
    """One LSTM layer."""
    shape = [f"model.hidden={given.hidden}", f"model.embedding={given.hidden}", "data=stdlib_docs"]
    built = build.model(config.check(composed("train", shape), config.TrainConfig), {"text": given.vocabulary})
    assert isinstance(built, LanguageModel)
    return built


def go_through(model: LanguageModel, tbptt: config.Tbptt, length: int, given: argparse.Namespace) -> None:
    """Forward and backward over columns of so many random tokens, as a training epoch has them."""
    text = np.random.default_rng(0).integers(4, given.vocabulary, length * given.columns).astype(np.uint16)
    none, carried = config.NoDropout("none"), None
    for chunk in ChunkLoader(text, given.columns, tbptt):
        state = model.stack.initial_state(given.columns) if chunk.first else carried
        if isinstance(tbptt, config.CheckpointedBptt):
            reading = read_checkpointed(model, chunk, state, none, tbptt.chunk)
        else:
            reading = read(model, chunk, state, none)
        (reading.total / reading.targets).backward()
        carried = reading.onward


def peak() -> float:
    """The most resident memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 10 if sys.platform == "linux" else 1 << 20)


def measured(given: argparse.Namespace) -> dict[str, float]:
    """One number, in this process."""
    model, tbptt = model_of(given), tbptt_of(given.one, given.chunk)
    go_through(model, tbptt, WARM_UP, given)
    before, started = peak(), time.perf_counter()
    go_through(model, tbptt, given.lengths[0], given)
    return {"peak MB": round(peak() - before, 1), "seconds": round(time.perf_counter() - started, 1)}


def in_a_process(name: str, length: int) -> dict[str, Any]:
    """One number, in a process of its own that is given this one's settings."""
    line = [sys.executable, *sys.argv, "--one", name, "--lengths", str(length)]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=True, text=True, env={**os.environ, **GIVES_BACK})
    return {"tbptt": name, "time": length, **json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--columns", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=256)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--one", choices=["fixed", "windows", "off", "checkpointed"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.manual_seed(0)
    if given.one:
        print(json.dumps(measured(given)))
        return
    names = ["fixed", "windows", "checkpointed", "off"]
    rows = [in_a_process(name, length) for name in names for length in given.lengths]
    facts = {name: getattr(given, name) for name in ("columns", "hidden", "vocabulary", "chunk")}
    show("peak memory of a language model's gradient", rows, **facts)


if __name__ == "__main__":
    main()
