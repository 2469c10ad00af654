"""A language model on running text."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from throughtime import config
from throughtime.data.batch import TextChunk
from throughtime.data.tokenizer import BOS
from throughtime.nn.models import LanguageModel
from throughtime.nn.state import State, replace_rows
from throughtime.train import evaluation
from throughtime.train.loss import Losses
from throughtime.train.task import Task
from throughtime.train.through_time import read, read_checkpointed


class TextTask(Task):
    """Stateful truncated BPTT: one chunk is one batch, the state of the last chunk is carried in, without its gradient.

    Training and evaluation carry their own states. `tokens_per_character` gives bits per character.
    """

    model: LanguageModel

    def __init__(
        self,
        model: nn.Module,
        settings: config.TrainConfig,
        about: dict[str, Any],
        tokens_per_character: dict[str, float],
    ):
        super().__init__(model, settings, about)
        self._tokens_per_character = tokens_per_character
        self._cache: evaluation.Cache | None = None
        self._dynamic: evaluation.Dynamic | None = None

    def on_test_start(self) -> None:
        choice = self._settings.evaluation
        self._dynamic = evaluation.Dynamic(self.model, choice) if isinstance(choice, config.DynamicEvaluation) else None

    def on_test_end(self) -> None:
        if self._dynamic is not None:
            self._dynamic.restore()

    def test_step(self, batch: TextChunk, _: int) -> None:
        """Scores a chunk as `evaluation=` says; what a chunk teaches serves only those after it."""
        match self._settings.evaluation:
            case config.CacheEvaluation() as choice:
                self.test_loss.update(*self._cached_loss(batch, choice))
            case config.DynamicEvaluation():
                with torch.enable_grad():
                    found = self._evaluate(batch, "test")
                    assert self._dynamic is not None
                    self._dynamic.learn(found.total, found.targets)
            case _:
                self._evaluate(batch, "test")

    def _cached_loss(self, batch: TextChunk, choice: config.CacheEvaluation) -> tuple[Tensor, Tensor]:
        """The summed loss of a chunk and the number of its targets."""
        batch, state = self._begun(batch, "test")
        outputs, state = self.model.outputs(batch.tokens, state, batch.resets)
        self.carried["test"] = state
        cache = evaluation.empty_cache(outputs) if batch.first or self._cache is None else self._cache
        total, count, self._cache = evaluation.cached_loss(
            self.model.output(outputs), outputs, batch.targets, cache, choice
        )
        return total, count

    def losses(self, batch: TextChunk, split: str) -> Losses:
        batch, state = self._begun(batch, split)
        tbptt, dropout = self._settings.tbptt, self._settings.dropout
        if split == "train" and isinstance(tbptt, config.CheckpointedBptt):
            reading = read_checkpointed(self.model, batch, state, dropout, tbptt.chunk)
        else:
            reading = read(self.model, batch, state, dropout)
        self.carried[split] = reading.onward
        return Losses(reading.total, reading.targets, reading.total, reading.penalty)

    def _begun(self, batch: TextChunk, split: str) -> tuple[TextChunk, State]:
        """The chunk, and the state that the last one left. In training some columns start afresh, after bos: a state that
        is carried on forever drifts away from where a text begins, and a model that has not met the beginning for long
        cannot read from there."""
        count, share = len(batch.tokens), self._settings.batch.restarts
        if batch.first:
            return batch, self.model.stack.initial_state(count)
        if split != "train" or not (share or self._settings.model.learned_state):  # DDP wants a gradient of each weight
            return batch, self.carried[split]
        fresh = (torch.rand(count) < share).to(batch.tokens.device, non_blocking=True)
        tokens = torch.cat([batch.tokens[:, :1].masked_fill(fresh[:, None], BOS), batch.tokens[:, 1:]], dim=1)
        state = replace_rows(self.carried[split], fresh, self.model.stack.initial_state(count))
        return batch._replace(tokens=tokens), state

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """The learning rate of jittered chunks goes with their length, so that a token weighs the same in each (Merity et
        al. 2017, section 5)."""
        if isinstance(self._settings.tbptt, config.JitteredChunks):
            lengths = self._accumulation.lengths
            for group in optimizer.param_groups:
                group["lr"] *= sum(lengths) / (len(lengths) * self._settings.tbptt.chunk)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """One step, after which the schedule finds its learning rates as it left them."""
        groups = self.optimizers(use_pl_optimizer=False).param_groups  # type: ignore[union-attr]
        rates = [group["lr"] for group in groups]
        super().optimizer_step(*arguments, **named)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate

    def measures(self, loss: float, split: str) -> dict[str, float]:
        bits = loss / math.log(2)
        characters = {"bits_per_character": bits * self._tokens_per_character[split]}
        return {**super().measures(loss, split), "bits_per_token": bits, **characters}
