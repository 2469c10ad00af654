"""What the LightningModules of text and pairs share: a step, the means of its losses, and what a checkpoint needs."""

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
from throughtime.nn.state import State
from throughtime.train import course, optim
from throughtime.train.accumulation import Accumulation
from throughtime.train.loss import Losses, per_token, perplexity
from throughtime.train.ranks import from_all_ranks, of_all_ranks


class TokenMean(MeanMetric):
    """Summed losses divided by their number of targets; torchmetrics' own update takes means and their weights.

    In float64, unless there is a Mac's GPU, which has none: float32 would round off what is added late in a long epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        if not torch.backends.mps.is_available():
            self.set_dtype(torch.float64)

    def update(self, total: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        self.mean_value += total
        self.weight += targets


class Task(lightning.LightningModule):
    """What both models' tasks share.

    `about` is the plain data that makes a checkpoint self-contained (`train/checkpoint.py`).
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
        """How many targets all processes have trained on, including those before a resume."""
        return int(self._tokens)

    @abstractmethod
    def losses(self, batch: Any, split: str) -> Losses:
        """The losses of a batch; state is carried where the model carries one."""

    def training_step(self, batch: Any, _: int) -> Tensor:
        losses = self.losses(batch, "train")
        total, targets = of_all_ranks(torch.stack([losses.total.detach(), losses.targets.to(losses.total.dtype)]))
        self.train_loss.update(total, targets)
        self._tokens = self._tokens + targets.long()  # stays on the device, so as not to wait for it
        self.log("train/loss", total / targets, prog_bar=True)
        mean = per_token(losses.minimised, targets) + losses.penalty
        return self._accumulation.add(mean, targets, batch.targets.shape[1])

    def on_after_backward(self) -> None:
        if course.step_is_whole(self.trainer):
            self._accumulation.average(self.model.parameters())

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        super().optimizer_step(*arguments, **named)
        self._accumulation.clear()

    def validation_step(self, batch: Any, _: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Any, _: int) -> None:
        self._evaluate(batch, "test")

    def _evaluate(self, batch: Any, split: str) -> Losses:
        losses = self.losses(batch, split)
        self._mean(split).update(losses.total.detach(), losses.targets)
        return losses

    def _mean(self, split: str) -> TokenMean:
        return {"val": self.val_loss, "test": self.test_loss}[split]

    def on_train_epoch_start(self) -> None:
        if course.epoch_begins(self.trainer):
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
        """The mean loss in nats per token, and what it is in other units."""
        return {"loss": loss, "perplexity": perplexity(loss)}

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
        optim.renew(checkpoint, self._settings)
        ranks = checkpoint["throughtime"]["ranks"]
        self._tokens = ranks[0]["tokens"]
        if len(ranks) == self.trainer.world_size:
            self._restored = ranks[self.global_rank]

    def on_train_start(self) -> None:
        course.recount(self.trainer)
        if self._restored is None:
            if self.global_rank:  # the model is the same everywhere, the noise must not be
                torch.manual_seed(self._settings.seed + self.global_rank)
            return
        self._accumulation.restore(self._restored["accumulated"], self.model.parameters())
        if self._restored["carried"] is not None:
            self.carried["train"] = move_data_to_device(self._restored["carried"], self.device)
        torch.set_rng_state(self._restored["random"].cpu())
        if "cuda_random" in self._restored and self.device.type == "cuda":
            torch.cuda.set_rng_state(self._restored["cuda_random"].cpu())
