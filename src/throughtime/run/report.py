"""What a run prints before and after training."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from throughtime import config
from throughtime.data.prepare import Prepared
from throughtime.run.record import Record
from throughtime.terminal import console
from throughtime.train.flow import Flow
from throughtime.train.task import Task

_console = console(soft_wrap=True)


def opening(settings: config.TrainConfig, prepared: Prepared, task: Task, trainer: Any, start: Path | None) -> None:
    """One line each for the checkpoint that the run starts from, the corpus and the model."""
    if not trainer.is_global_zero:
        return
    if start is not None:
        _console.print(f"resume {_short(start)}")
    elif settings.start_from is not None:
        _console.print(f"start  {_short(Path(settings.start_from))}")
    unit = "tokens" if config.reads_text(settings.data) else "pairs"
    counts = ", ".join(f"{fact[unit]:,} {split}" for split, fact in prepared.facts["splits"].items())
    vocabulary = ", ".join(f"{side} {size:,}" for side, size in prepared.facts["vocabulary"].items())
    _console.print(f"data   {settings.data.name}: {unit} {counts}; {settings.tokenizer.name} vocabulary {vocabulary}")
    shape, world = settings.model, trainer.world_size
    _console.print(
        f"model  {shape.name}: {shape.depth} x {settings.cell.name}({shape.hidden}), {task.size:,} parameters,"
        f" {trainer.precision_plugin.precision} on {task.device if world == 1 else f'{world} processes'}"
    )


def closing(settings: config.TrainConfig, record: Record, samples: list[dict[str, Any]], flows: list[Flow]) -> None:
    """The last validation's samples and gradient flow, the final metrics, where everything is, and how to decode."""
    facts = record.facts
    _console.print(_samples(samples))
    if flows:
        _console.print(_flow(flows))
    for split in ("val", "test"):
        shown = {name: value for name, value in facts.items() if name.startswith(f"{split}/")}
        _console.print("  ".join(f"{name} {value:.4g}" for name, value in shown.items()))
    epochs, steps = settings.trainer.epochs, settings.trainer.steps
    if steps is not None and facts["steps"] < steps and facts["epochs"] >= epochs:
        _console.print(f"ended       by trainer.epochs={epochs}, at step {facts['steps']} of trainer.steps={steps}")
    if facts["compile_seconds"]:
        _console.print(f"compiled    {facts['compile_seconds']} s, kept on disk for the next run")
    checkpoint = _short(Path(facts["checkpoints"]["best"]))
    _console.print(f"checkpoint  {checkpoint}")
    _console.print(f"samples     {_short(record.folder / 'samples')}")
    if flows:
        _console.print(f"gradients   {_short(record.folder / 'gradient_flow.png')}")
    _console.print(f"record      {_short(record.folder / 'summary.json')}")
    _console.print(f"decode      {decode_line(settings.cell, checkpoint, samples)}")


def decode_line(cell: config.Cell, checkpoint: Path, samples: list[dict[str, Any]]) -> str:
    """A shell line that decodes the first sample's source, or the first line of its prompt, again."""
    text = (samples[0].get("source") or samples[0].get("prompt", "")) if samples else ""
    program = _short(Path(sys.argv[0]).resolve().parent / "decode.py")
    line = next(iter(text.strip().splitlines()), "")
    code = f" allow_code={(cell.path or '').rpartition(':')[0]}" if isinstance(cell, config.OwnCell) else ""
    decoder = f"{_short(Path(sys.executable))} {program} checkpoint={shlex.quote(str(checkpoint))}{code}"
    return f"echo {shlex.quote(line)} | {decoder}"


def _samples(samples: list[dict[str, Any]]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    heads = [key for key in ("search", "prompt", "source", "reference") if samples and key in samples[0]]
    for head in [*heads, "decoded"]:
        table.add_column(head, overflow="fold")
    for sample in samples:
        table.add_row(*(str(sample[head]) for head in heads), sample["hypotheses"][0]["text"])
    return table


def _flow(flows: list[Flow]) -> Table:
    """The L2 norms of the last loss's gradient with respect to earlier states, at distances that double."""
    longest = max(len(flow.norms) for flow in flows)
    distances = [0, *(1 << power for power in range(longest.bit_length()) if 1 << power < longest)]
    title = "gradient of the last target's loss with respect to the state k steps back"
    table = Table(
        "", *map(str, distances), title=title, title_justify="left", title_style="", box=None, padding=(0, 1, 0, 0)
    )
    for flow in flows:
        norms = [f"{flow.norms[back]:.0e}" if back < len(flow.norms) else "" for back in distances]
        layer = flow.layer.replace("reader.", "").replace("stack.layers.", "layer ").replace(".", " ")
        table.add_row(f"{layer} {flow.state}", *norms)  # short, so that the table fits 80 columns
    return table


def _short(path: Path) -> Path:
    """Relative to the working directory, if it is below that."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute
