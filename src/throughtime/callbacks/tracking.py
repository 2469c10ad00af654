"""Where a run is recorded as it proceeds: always `metrics.csv`, and W&B if asked. The only user of `wandb`."""

import csv
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from throughtime import config


class Tracker:
    """The loggers of a run, and what else is recorded: tables, pictures, pages, and how it ended."""

    def __init__(self, folder: Path):
        self.loggers: list[Logger] = [CSVLogger(str(folder), name="", version="")]

    def table(self, name: str, rows: list[dict[str, Any]], step: int) -> None:
        """Shows rows with equal keys."""

    def picture(self, name: str, path: Path, step: int) -> None:
        """Shows an image file of the run folder."""

    def page(self, name: str, path: Path, step: int) -> None:
        """Shows an HTML file of the run folder."""

    def finish(self, facts: dict[str, Any] | None) -> None:
        """Ends the run: as finished, with the facts of its best checkpoint, or, without facts, as failed."""


class CsvTracker(Tracker):
    """Tables go into `<name>.csv` beside the metrics."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._folder = folder

    def table(self, name: str, rows: list[dict[str, Any]], step: int) -> None:
        path = self._folder / f"{name}.csv"
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["step", *rows[0]])
            if fresh:
                writer.writeheader()
            writer.writerows({"step": step, **row} for row in rows)


class WandbTracker(Tracker):
    """A W&B run of its own, finished with an exit code."""

    def __init__(self, folder: Path, choice: config.WandbTracking, run: config.Run, settings: dict[str, Any]):
        super().__init__(folder)
        mode = _mode(choice)
        import wandb

        print(f"W&B: {mode} run {run.name} in project {choice.project}" + _hint(mode), flush=True)
        try:
            self._run = wandb.init(
                project=choice.project,
                name=run.name,
                group=run.group,
                tags=run.tags,
                dir=folder,
                mode=mode,
                config=settings,
                reinit="create_new",
                settings=wandb.Settings(silent=True),
            )
        except wandb.errors.Error as error:
            raise config.wrong("tracking.mode", choice.mode, f"online only where W&B answers ({error})") from error
        self._run.define_metric("trainer/global_step")
        self._run.define_metric("*", step_metric="trainer/global_step", step_sync=True)  # the charts' x axis
        self.loggers.append(WandbLogger(experiment=self._run))

    def table(self, name: str, rows: list[dict[str, Any]], step: int) -> None:
        import wandb

        columns = list(rows[0])
        shown = wandb.Table([*columns], [[row[column] for column in columns] for row in rows])
        self._log({name: shown}, step)

    def picture(self, name: str, path: Path, step: int) -> None:
        import wandb

        self._log({name: wandb.Image(str(path))}, step)

    def page(self, name: str, path: Path, step: int) -> None:
        import wandb

        self._log({name: wandb.Html(path)}, step)

    def _log(self, shown: dict[str, Any], step: int) -> None:
        """Logs at the step of Lightning's own metrics of that validation, which counts steps from 0."""
        self._run.log({**shown, "trainer/global_step": step - 1})

    def finish(self, facts: dict[str, Any] | None) -> None:
        self._run.summary.update(facts or {})  # instead of the last validation's
        self._run.finish(exit_code=int(facts is None))


def _mode(choice: config.WandbTracking) -> Any:
    """`auto` follows WANDB_MODE, else whether a login exists."""
    os.environ.setdefault("WANDB_SILENT", "true")  # its own messages would appear beside our one sentence
    asked = os.environ.get("WANDB_MODE", "auto") if choice.mode == "auto" else choice.mode
    if asked in ("offline", "disabled"):
        return asked
    import wandb

    login = wandb.login(prompt=False, verify=False)
    if asked == "online" and not login:
        allowed = "auto or offline where no W&B login exists (`wandb login` makes one)"
        raise config.wrong("tracking.mode", choice.mode, allowed)
    return "online" if login else "offline"


def _hint(mode: str) -> str:
    return " (`wandb sync` uploads it, `wandb leet` shows it)" if mode == "offline" else ""


def open_tracker(choice: config.Tracking, run: config.Run, settings: dict[str, Any], folder: Path) -> Tracker:
    """The tracker of `tracking=`, in the process that records.

    Raises:
        Mistake: `tracking.mode=online` without a login or an answer.
    """
    rank_zero_only.rank = 0  # type: ignore[attr-defined]  # a SLURM task that is not the first would record nothing
    if isinstance(choice, config.WandbTracking):
        return WandbTracker(folder, choice, run, settings)
    return CsvTracker(folder) if choice.name == "csv" else Tracker(folder)
