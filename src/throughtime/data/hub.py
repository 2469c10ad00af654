"""Any Hugging Face dataset, by name or from a local folder."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import datasets

from throughtime import config
from throughtime.data.splits import split_off

Rows: TypeAlias = Any  # datasets.Dataset or datasets.IterableDataset


def identity(data: config.HubDataset) -> dict[str, Any]:
    """What determines the rows: the settings, and what `datasets` itself takes as the data's fingerprint."""
    prints = {split: getattr(rows, "_fingerprint", None) for split, rows in hub(data).items()}
    return {**config.plain(data), "datasets": datasets.__version__, "fingerprint": prints}


def hub(data: config.HubDataset) -> dict[str, Rows]:
    """The three splits with `text`, or `source` and `target`, as their columns."""
    return {split: _columns(data, rows) for split, rows in _splits(data).items()}


def _splits(data: config.HubDataset) -> dict[str, Rows]:
    """The named splits; those without a name are split off the training rows' end."""
    names = {"validation": data.validation_split, "test": data.test_split}
    shares = {"validation": data.validation_share, "test": data.test_share}
    missing = {split: share for split, share in shares.items() if names[split] is None}
    for split in missing if data.streaming else ():
        raise config.wrong(f"data.{split}_split", None, "a split's name with data.streaming=true")
    train = _load(data, "train", data.train_split)
    named = {split: _load(data, split, name) for split, name in names.items() if name is not None}
    return {**(split_off(train, missing) if missing else {"train": train}), **named}


def _load(data: config.HubDataset, part: str, split: str) -> Rows:
    path = str(data.path)
    if Path(path).exists() and not Path(path).is_dir():
        raise config.wrong(
            "data.path", path, "a dataset's name on the hub or a folder (files go by data=text or data=pairs)"
        )
    try:
        if (Path(path) / "dataset_dict.json").exists():
            rows = datasets.load_from_disk(path)[split]
            return rows.to_iterable_dataset() if data.streaming else rows
        return datasets.load_dataset(path, data.subset, split=split, streaming=data.streaming)
    except KeyError as error:
        raise config.wrong(f"data.{part}_split", split, f"a split of {path}") from error
    except Exception as error:  # the library raises many kinds: not there, no network, a bad split, a bad file
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise config.wrong("data.path", path, f"a dataset that loads ({reason[0].rstrip('.')})") from error


def _columns(data: config.HubDataset, rows: Rows) -> Rows:
    fields = (
        {"text": data.text_field} if data.text_field else {"source": data.source_field, "target": data.target_field}
    )

    def pick(row: dict[str, Any]) -> dict[str, str]:
        return {column: _inside(row, f"data.{column}_field", str(field)) for column, field in fields.items()}

    for first in islice(rows, 1):
        pick(first)  # a streamed dataset would refuse a field only later, inside of its own errors
    return rows.map(pick, remove_columns=rows.column_names)


def _inside(row: dict[str, Any], setting: str, field: str) -> str:
    """A value, inside nested fields where `field` has dots."""
    value: Any = row
    for name in field.split("."):
        if not isinstance(value, Mapping) or name not in value:
            known = list(row)
            raise config.wrong(setting, field, f"one of {' '.join(known)}{config.nearest(field, known)}")
        value = value[name]
    if not isinstance(value, str | int | float):
        held = "nothing" if value is None else f"a {type(value).__name__}"
        raise config.wrong(setting, field, f"a column of texts, and a row of this one holds {held}")
    return str(value)
