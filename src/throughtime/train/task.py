"""The LightningModules: one training step of either model, the carried state, and what a checkpoint needs."""

import math
from abc import abstractmethod
from typing import Any

import lightning
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric

from throughtime import config
from throughtime.data.batch import PairBatch, TextChunk
from throughtime.nn.models import EncoderDecoder, LanguageModel, PrefixModel
from throughtime.nn.state import State, replace_rows
from throughtime.train import evaluation, optim, teacher
from throughtime.train.accumulation import Accumulation
from throughtime.train.loss import Losses, per_token
from throughtime.train.output_loss import output_loss
from throughtime.train.ranks import from_all_ranks, of_all_ranks
from throughtime.train.through_time import read, read_checkpointed


class TokenMean(MeanMetric):
    """Summed losses over the targets they are of; torchmetrics' own update takes means, and their weights."""

    def update(self, total: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        self.mean_value += total
        self.weight += targets


class Task(lightning.LightningModule):
    """What both models' tasks share.

    `about` is the plain data that makes a checkpoint stand on its own (`train/checkpoint.py`).
    """

    def __init__(self, model: nn.Module, settings: config.TrainConfig, about: dict[str, Any]):
        super().__init__()
        self.model, self._settings, self.about = model, settings, about
        self.train_loss, self.val_loss, self.test_loss = TokenMean(), TokenMean(), TokenMean()
        self.train_loss.persistent(True)
        self._tokens: Tensor | int = 0
        self._accumulation = Accumulation(settings.trainer.accumulate)
        self.carried: dict[str, State] = {}
        self._restored: dict[str, Any] | None = None

    @property
    def size(self) -> int:
        """How many parameters the model has."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def tokens_seen(self) -> int:
        """How many targets all processes have trained on, those before a resume included."""
        return int(self._tokens)

    @abstractmethod
    def losses(self, batch: Any, split: str) -> Losses:
        """The losses of a batch; state is carried where the model carries one."""

    def training_step(self, batch: Any, _: int) -> Tensor:
        found = self.losses(batch, "train")
        total, targets = of_all_ranks(torch.stack([found.total.detach(), found.targets.to(found.total.dtype)]))
        self.train_loss.update(total, targets)
        self._tokens = self._tokens + targets.long()  # stays on the device, which need not be waited for
        self.log("train/loss", total / targets, prog_bar=True)
        mean = per_token(found.minimised, targets) + found.penalty
        return self._accumulation.add(mean, targets, batch.targets.shape[1])

    def on_after_backward(self) -> None:
        if not self.trainer.fit_loop.epoch_loop._should_accumulate():
            self._accumulation.average(self.model.parameters())

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        super().optimizer_step(*arguments, **named)
        self._accumulation.clear()

    def validation_step(self, batch: Any, _: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Any, _: int) -> None:
        self._evaluate(batch, "test")

    def _evaluate(self, batch: Any, split: str) -> Losses:
        found = self.losses(batch, split)
        self._mean(split).update(found.total.detach(), found.targets)
        return found

    def _mean(self, split: str) -> TokenMean:
        return {"val": self.val_loss, "test": self.test_loss}[split]

    def on_train_epoch_start(self) -> None:
        if self.trainer.fit_loop.epoch_loop.batch_progress.current.ready == 0:
            self.train_loss.reset()

    def on_train_epoch_end(self) -> None:
        self.log("train/loss_epoch", self.train_loss.compute())

    def on_validation_epoch_end(self) -> None:
        loss = self._log_losses("val")
        schedule = self.lr_schedulers() if self.trainer.state.fn == TrainerFn.FITTING else None
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(loss)

    def on_test_epoch_end(self) -> None:
        self._log_losses("test")

    def _log_losses(self, split: str) -> float:
        """The mean loss of a split, logged in all units."""
        loss = float(self._mean(split).compute())
        self._mean(split).reset()
        self.log_dict({f"{split}/{name}": value for name, value in self.measures(loss, split).items()})
        return loss

    def measures(self, loss: float, split: str) -> dict[str, float]:
        """What the mean loss in nats per token means in other units."""
        return {"loss": loss, "perplexity": math.exp(min(loss, 80.0))}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = optim.optimizer(self._settings.optim, self.model.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = optim.schedule(self._settings.schedule, optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule} if schedule else {"optimizer": optimizer}  # type: ignore[return-value]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        here = {
            "carried": self.carried.get("train"),
            "random": torch.get_rng_state(),
            "tokens": self.tokens_seen,
            "accumulated": self._accumulation.state(self.model.parameters()),
        }
        if torch.cuda.is_available():
            here["cuda_random"] = torch.cuda.get_rng_state()
        checkpoint["throughtime"] = {**self.about, "ranks": from_all_ranks(move_data_to_device(here, "cpu"))}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.trainer.state.fn != TrainerFn.FITTING:
            return
        optim.renew(checkpoint, self._settings)
        ranks = checkpoint["throughtime"]["ranks"]
        self._tokens = ranks[0]["tokens"]
        if len(ranks) == self.trainer.world_size:
            self._restored = ranks[self.global_rank]

    def on_train_start(self) -> None:
        if self._restored is None:
            if self.global_rank:  # the model is everywhere the same, the noise is not
                torch.manual_seed(self._settings.seed + self.global_rank)
            return
        self._accumulation.restore(self._restored["accumulated"], self.model.parameters())
        if self._restored["carried"] is not None:
            self.carried["train"] = move_data_to_device(self._restored["carried"], self.device)
        torch.set_rng_state(self._restored["random"].cpu())
        if "cuda_random" in self._restored and self.device.type == "cuda":
            torch.cuda.set_rng_state(self._restored["cuda_random"].cpu())


class LanguageModelTask(Task):
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
        """Scores a chunk as `evaluation=` says; what a chunk teaches serves only those behind it."""
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
        outputs, state = self.model.outputs(batch.tokens, self._carried_in(batch, "test"), batch.resets)
        self.carried["test"] = state
        cache = evaluation.empty_cache(outputs) if batch.first or self._cache is None else self._cache
        total, count, self._cache = evaluation.cached_loss(
            self.model.output(outputs), outputs, batch.targets, cache, choice
        )
        return total, count

    def losses(self, batch: TextChunk, split: str) -> Losses:
        state, tbptt, dropout = self._carried_in(batch, split), self._settings.tbptt, self._settings.dropout
        if split == "train" and isinstance(tbptt, config.CheckpointedBptt):
            reading = read_checkpointed(self.model, batch, state, dropout, tbptt.chunk)
        else:
            reading = read(self.model, batch, state, dropout)
        self.carried[split] = reading.onward
        return Losses(reading.total, reading.targets, reading.total, reading.penalty)

    def _carried_in(self, batch: TextChunk, split: str) -> State:
        """What the last chunk left. In training some columns begin anew: a state that is carried on for ever drifts away
        from where a text begins, and a model that has not met the beginning for long cannot read from there."""
        count, share = len(batch.tokens), self._settings.batch.restarts
        if batch.first:
            return self.model.stack.initial_state(count)
        if split != "train" or not (share or self._settings.model.learned_state):  # DDP wants a gradient of each weight
            return self.carried[split]
        restarted = (torch.rand(count) < share).to(batch.tokens.device)
        return replace_rows(self.carried[split], restarted, self.model.stack.initial_state(count))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """The learning rate of jittered chunks goes with their length, so that a token weighs the same in each (Merity et
        al. 2017, section 5)."""
        if isinstance(self._settings.tbptt, config.JitteredChunks):
            lengths = self._accumulation.lengths
            for group in optimizer.param_groups:
                group["lr"] *= sum(lengths) / (len(lengths) * self._settings.tbptt.chunk)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """One step, behind which the schedule finds its learning rates as it left them."""
        groups = self.optimizers(use_pl_optimizer=False).param_groups  # type: ignore[union-attr]
        rates = [group["lr"] for group in groups]
        super().optimizer_step(*arguments, **named)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate

    def measures(self, loss: float, split: str) -> dict[str, float]:
        bits = loss / math.log(2)
        characters = {"bits_per_character": bits * self._tokens_per_character[split]}
        return {**super().measures(loss, split), "bits_per_token": bits, **characters}


class TranslationTask(Task):
    """The decoder reads what `teacher=` feeds it in training, its gradient through time cut every `chunk` target steps; in
    evaluation it reads the target."""

    model: EncoderDecoder | PrefixModel

    def losses(self, batch: PairBatch, split: str) -> Losses:
        tokens, tbptt, choice = batch.tokens, self._settings.tbptt, self._settings.teacher
        options: dict[str, Any] = {}
        if split == "train":
            tokens = teacher.with_unknown(tokens, choice.word_dropout)
            options["chunk"] = tbptt.chunk if isinstance(tbptt, config.FixedChunks) else None
        if split == "train" and (share := teacher.own_share(choice, self.global_step)):
            options["own"] = teacher.some_places(tokens, share)
        features = self.model.features(batch.source, batch.source_lengths, tokens, **options)
        return output_loss(self.model.output, features, batch.targets, self._settings.loss.label_smoothing)
