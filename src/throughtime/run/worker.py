"""One process of a run with several; `launch.processes` starts it."""

import os
import sys
import time
from pathlib import Path

import yaml

from throughtime import config, memory
from throughtime.run import launch, parent, training
from throughtime.run.record import Record

PATIENCE = 2.0  # seconds that the other ranks give the first to record an error that all of them met
MOMENT = 0.3  # seconds in which the launcher ends this process, if the error is only that another one was killed


def main(folder: Path) -> None:
    """Runs `folder/config.yaml` as one of the run's processes."""
    memory.keep_freed()
    parent.end_with_pipe(sys.stdin.fileno())
    settings = config.check(yaml.safe_load((folder / "config.yaml").read_text()), config.TrainConfig)
    record = Record.reopen(folder)
    try:
        with training.in_memory(settings):
            training.fit(settings, record)
    except BaseException as error:
        time.sleep(PATIENCE if launch.rank() else MOMENT)
        if not record.fail(error) or isinstance(error, config.Mistake | OSError | KeyboardInterrupt):
            sys.exit(2)
        raise


if __name__ == "__main__":
    folder, sys.argv[0] = sys.argv[1:]  # the program that the user started is what the report names
    main(Path(folder))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that torch leaves running may abort a finished process while Python shuts down
