"""What a person sees during a run besides Lightning's bar: a line per validation and, without the bar, per minute."""

import sys
import time
from typing import Any

import lightning

from throughtime.terminal import console
from throughtime.train.quality import MEASURES

SHOWN = ("loss", "perplexity", "bits_per_character", *MEASURES)
SILENCE = 60.0  # seconds, at most, without a line of the training in a log file


class Progress(lightning.Callback):
    """The lines of a run, and the measures that its record needs.

    `history`: the metrics at each validation, with `epoch` and `step`, the first `earlier` of them from before a
    resume; `seconds`: time spent in training steps, since the resume if there was one.
    """

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []
        self.earlier = 0
        self.seconds = 0.0
        self._started: float | None = None
        self._told = 0.0  # when the last line was printed
        self._tokens = 0  # seen before the run was resumed
        self._console = console(soft_wrap=True)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = list(state_dict["history"])
        self.earlier = len(self.history)

    def speed(self, tokens_seen: int) -> float | None:
        """Target tokens per second in this run's training steps, if it has made any."""
        seconds = self.seconds + (time.perf_counter() - self._started if self._started else 0.0)
        return (tokens_seen - self._tokens) / seconds if seconds else None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._tokens, self._told = pl_module.tokens_seen, time.perf_counter()

    def on_train_batch_start(self, *arguments: Any) -> None:
        if self._started is None:
            self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if time.perf_counter() - self._told > SILENCE and trainer.is_global_zero and not sys.stdout.isatty():
            self._tell(trainer, pl_module, {})

    def pause(self) -> None:
        """Stops the clock until the next training step."""
        if self._started is not None:
            self.seconds += time.perf_counter() - self._started
            self._started = None

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.pause()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        self.history.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **metrics})
        if trainer.is_global_zero:
            self._tell(trainer, pl_module, metrics)

    def _tell(self, trainer: lightning.Trainer, pl_module: Any, metrics: dict[str, float]) -> None:
        """Prints a line: the last batch's loss, what a validation has measured, and the speed so far."""
        loss = trainer.callback_metrics.get("train/loss")
        shown = [f"train loss {float(loss):.4f}"] if loss is not None else []
        shown += [f"{name} {metrics[f'val/{name}']:.4g}" for name in SHOWN if f"val/{name}" in metrics]
        speed = self.speed(pl_module.tokens_seen)
        rate = "" if speed is None else f"{speed:,.0f} tokens/s"
        self._console.print(
            f"epoch {trainer.current_epoch:3d}  step {trainer.global_step:6d}  {'  '.join(shown)}  {rate}"
        )
        self._told = time.perf_counter()
