"""Trains one model, or with -m a sweep of them: `python train.py --help`."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from throughtime import compose
from throughtime.config import TrainConfig


@hydra.main(config_path=compose.CONF, config_name="train", version_base="1.3")
def job(values: DictConfig) -> float:
    """One run; returns the metric that ranks it, which a sweeper may minimise."""
    from throughtime.run import training

    folder, mode = Path(HydraConfig.get().runtime.output_dir), HydraConfig.get().mode
    if mode == RunMode.MULTIRUN:
        return training.sweep_job(compose.settings(values), folder)
    with compose.one_sentence():
        return training.run(compose.settings(values), folder)


if __name__ == "__main__":
    with compose.one_sentence():
        compose.preflight("train", TrainConfig, sys.argv[1:])
        job()
