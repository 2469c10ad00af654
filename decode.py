"""Decodes text lines with a checkpoint: `python decode.py --help`."""

import os
import signal
import sys

import hydra
from omegaconf import DictConfig

from throughtime import compose, memory
from throughtime.config import DecodeConfig, check


@hydra.main(config_path=compose.CONF, config_name="decode", version_base="1.3")
def main(values: DictConfig) -> None:
    """One decoding job."""
    memory.keep_freed()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # an output then says how it is taken up
    from throughtime.run.decoding import decode

    with compose.one_sentence():
        decode(check(compose.settings("decode", values), DecodeConfig))


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # lets what Hydra itself trips over through to the one sentence
    with compose.one_sentence():
        sys.argv[1:] = compose.ready("decode", sys.argv[1:])
        main()
