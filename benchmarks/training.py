"""Training throughput: `python train.py` with all its callbacks beside a bare loop of the same model, in one run.

    python benchmarks/training.py TEXT [--steps 300] [--rounds 3] [setting=value ...]

TEXT is a file of running text, such as the Penn Treebank's training split; the settings default to
`experiment=zaremba2014_small`. The bare loop is torch.nn.LSTM, cross entropy, clipping and SGD on the same chunks; both in
float32 and, where the processor multiplies in it, in bf16.
"""

import argparse
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import lightning
import torch
from measure import show
from torch import Tensor, nn

from throughtime import config
from throughtime.build import parts
from throughtime.callbacks.progress import Progress
from throughtime.callbacks.tracking import open_tracker
from throughtime.compose import composed
from throughtime.data.prepare import Prepared, prepare
from throughtime.data.stream import ChunkLoader, open_stream
from throughtime.nn.products import bf16_on_cpu

PRECISIONS = ("32-true", "bf16-mixed") if bf16_on_cpu() else ("32-true",)


class Bare(nn.Module):
    """The model of pytorch's word_language_model example: embedding, nn.LSTM, a linear output."""

    def __init__(self, vocabulary: int, shape: config.LanguageModelShape):
        super().__init__()
        hidden = config.widths(shape)[-1]
        self.embedding = nn.Embedding(vocabulary, shape.embedding)
        self.lstm = nn.LSTM(shape.embedding, hidden, shape.depth, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        outputs, state = self.lstm(self.embedding(tokens), state)
        return self.output(outputs), state


def bare_loop(settings: config.TrainConfig, prepared: Prepared, steps: int) -> float:
    """Tokens per second of the loop that a person would write."""
    size = prepared.tokenizers["text"].size
    model = Bare(size, settings.model)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(model.parameters(), settings.optim.lr)
    text = open_stream(prepared.folder / "train.bin", size)
    chunks = list(islice(ChunkLoader(text, settings.batch.columns, settings.tbptt), steps))
    state, started = None, time.perf_counter()
    for chunk in chunks:
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.trainer.precision == "bf16-mixed"):
            logits, (h, c) = model(chunk.tokens, state)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), chunk.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.trainer.clip.norm)
        optimizer.step()
        state = (h.detach(), c.detach())
    return steps * chunks[0].targets.numel() / (time.perf_counter() - started)


class Clock(lightning.Callback):
    """When the first and the last training step began and ended."""

    def on_train_batch_start(self, *_: object) -> None:
        self.started = getattr(self, "started", time.perf_counter())

    def on_train_batch_end(self, *_: object) -> None:
        self.ended = time.perf_counter()


def ours(settings: config.TrainConfig, prepared: Prepared, steps: int) -> float:
    """Tokens per second of this project's Trainer, the default callbacks and W&B (offline) on."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        tracker = open_tracker(settings.tracking, settings.run, config.plain(settings), Path(folder))
        trainer = parts.trainer(settings, prepared, tracker, Progress(), Path(folder), world=1)
        trainer.callbacks.insert(0, clock)  # type: ignore[attr-defined]
        trainer.fit_loop.epoch_loop.max_steps = steps
        trainer.limit_val_batches = 0
        trainer.fit(parts.task(settings, prepared), datamodule=parts.datamodule(settings, prepared))
        tracker.finish(failed=False)
    return steps * settings.batch.columns * settings.tbptt.chunk / (clock.ended - clock.started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    chosen, overrides = parser.parse_known_args()
    overrides = ["experiment=zaremba2014_small", f"data.path='{chosen.text}'", *overrides]
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(chosen.rounds):
            for precision in PRECISIONS:
                settings = config.check(
                    composed("train", [*overrides, f"trainer.precision={precision}"]), config.TrainConfig
                )
                prepared = prepare(settings.data, settings.tokenizer, Path(cache))
                for name, job in (("bare loop", bare_loop), ("throughtime", ours)):
                    rates.setdefault(f"{name} {precision}", []).append(job(settings, prepared, chosen.steps))
    middle = {name: statistics.median(values) for name, values in rates.items()}
    rows = [
        {
            "loop": name,
            "tokens/s": round(rate),
            "per bare loop": round(rate / middle[f"bare loop {name.split()[-1]}"], 3),
        }
        for name, rate in middle.items()
    ]
    show(f"training throughput of {' '.join(overrides[2:]) or overrides[0]}", rows, steps=chosen.steps)


if __name__ == "__main__":
    main()
