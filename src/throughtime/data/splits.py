"""The three parts of a corpus, and those that are split off the rows for training."""

from collections.abc import Mapping

from datasets import Dataset

SPLITS = ("train", "validation", "test")
EVALUATED = {"val": "validation", "test": "test"}  # by the names that metrics begin with


def split_off(rows: Dataset, shares: Mapping[str, float]) -> dict[str, Dataset]:
    """The splits off the rows' end, each its share of them all, and what is left as `train`; the last one is the rows'
    own end, as with running text."""
    splits, left = {}, len(rows)
    for split, share in reversed(list(shares.items())):
        start = left - round(share * len(rows))
        splits[split] = rows.select(range(start, left) or range(0))  # an empty range at the end is refused
        left = start
    return {"train": rows.select(range(left)), **splits}
