"""Trains one model, or with -m a sweep of them: `python train.py --help`."""

import os
import sys
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from throughtime import compose, memory


@hydra.main(config_path=compose.CONF, config_name="train", version_base="1.3")
def job(values: DictConfig) -> float:
    """One run; returns the metric that ranks it, which a sweeper may minimise."""
    memory.keep_freed()
    from throughtime.run.sweep_job import sweep_job
    from throughtime.run.training import run

    chosen = HydraConfig.get()
    in_sweep = partial(sweep_job, sweep=Path(os.path.abspath(chosen.sweep.dir)))
    start = in_sweep if chosen.mode == RunMode.MULTIRUN else run
    with compose.one_sentence():
        return start(compose.settings("train", values), Path(chosen.runtime.output_dir), list(chosen.overrides.task))


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # lets what Hydra itself trips over through to the one sentence
    with compose.one_sentence():
        sys.argv[1:] = compose.ready("train", compose.continued(sys.argv[1:]))
        job()
