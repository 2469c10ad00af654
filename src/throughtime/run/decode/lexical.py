"""The words of `shortlist=`, learned on first use and kept under `outputs/cache`."""

import hashlib
import json
import zipfile
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from throughtime import config
from throughtime.data.lexicon import Pair, lexicon
from throughtime.data.paths import aligned, fingerprint, one_file
from throughtime.data.tokenizer import EOS, Tokenizer
from throughtime.search import Shortlist
from throughtime.whole import whole_file


def lexical_files(choice: config.Shortlist) -> list[Path]:
    """The files that a shortlist is learned from.

    Raises:
        Mistake: they cannot be read.
    """
    names = {"shortlist.source": choice.source, "shortlist.target": choice.target}
    return [one_file(setting, name) for setting, name in names.items() if name is not None]


def lexical_shortlist(
    choice: config.Shortlist, files: list[Path], reads: Tokenizer, writes: Tokenizer, cache: Path
) -> Shortlist:
    """The shortlist learned from the files, for a translator with these tokenizers.

    Raises:
        Mistake: the files are not texts with equally many lines.
    """
    identity = [[fingerprint(path) for path in files], reads.state(), writes.state(), choice.best, choice.frequent]
    path = cache / f"shortlist-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]}.npz"
    known = _read(path)
    if known is None:
        with Console(stderr=True).status("learning which words translate which"):
            known = _learned(choice, files, reads, writes)
            _write(known, path)
    return known


def _read(path: Path) -> Shortlist | None:
    """The shortlist in a file, if it is there and whole."""
    try:
        kept = np.load(path)
        return Shortlist(torch.from_numpy(kept["likely"]), torch.from_numpy(kept["always"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _learned(choice: config.Shortlist, files: list[Path], reads: Tokenizer, writes: Tokenizer) -> Shortlist:
    """A source's eos accounts for target words that none of its words explains."""
    source, target = map(str, files)
    rows = aligned("shortlist.source", source, "shortlist.target", target)
    sources, targets = reads.encode_batch([row[0] for row in rows]), writes.encode_batch([row[1] for row in rows])
    pairs: list[Pair] = [([*source, EOS], target) for source, target in zip(sources, targets, strict=True)]
    frequent = [word for word, _ in Counter(chain.from_iterable(targets)).most_common(choice.frequent)]
    likely = lexicon(pairs).best(reads.size, choice.best, filler=EOS)
    return Shortlist(torch.from_numpy(likely), torch.tensor(frequent, dtype=torch.long))


def _write(shortlist: Shortlist, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as fresh, fresh.open("wb") as file:
        np.savez(file, likely=shortlist.likely.numpy(), always=shortlist.always.numpy())
