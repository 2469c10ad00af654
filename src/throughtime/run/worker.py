"""One process of a run that has several; `launch.processes` starts it."""

import sys
from pathlib import Path

import yaml

from throughtime import config
from throughtime.run import launch, training
from throughtime.run.record import Record


def main(folder: Path) -> None:
    """Runs `folder/config.yaml` as one of the run's processes."""
    settings = config.check(yaml.safe_load((folder / "config.yaml").read_text()), config.TrainConfig)
    record = Record.reopen(folder)
    try:
        training.fit(settings, record)
    except BaseException as error:
        if launch.rank() == 0:
            record.fail(error)
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
