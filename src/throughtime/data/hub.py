"""Any Hugging Face dataset, by name or from a local folder."""

import json
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
    prints = {split: getattr(rows, "_fingerprint", None) for split, rows in _splits(data).items()}
    return {**config.plain(data), "datasets": datasets.__version__, "fingerprint": prints}


def hub(data: config.HubDataset) -> dict[str, Rows]:
    """The three splits with `text`, or `source` and `target`, as their columns; rows are read one after another, as a
    table of them would be cached beside the user's own."""
    return {split: _columns(data, split, rows) for split, rows in _splits(data).items()}


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
    path = Path(str(data.path))
    if path.is_file():
        raise config.wrong(
            "data.path", path, "a dataset's name on the hub or a folder (files go by data=text or data=pairs)"
        )
    saved = _saved(path)
    try:
        return _from_disk(data, part, split, saved) if saved else _from_hub(data, part, split)
    except config.Mistake:
        raise
    except Exception as error:  # the library raises many kinds: not there, no network, a bad file
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise config.wrong("data.path", path, f"a dataset that loads ({reason[0].rstrip('.')})") from error


def _saved(path: Path) -> dict[str, Path]:
    """The folders of the splits that `save_to_disk` wrote, of a `DatasetDict` or of a single `Dataset`; none elsewhere."""
    if (path / "dataset_dict.json").exists():
        return {split: path / split for split in json.loads((path / "dataset_dict.json").read_text())["splits"]}
    return {"train": path} if (path / "state.json").exists() else {}


def _from_disk(data: config.HubDataset, part: str, split: str, saved: dict[str, Path]) -> Rows:
    if data.subset is not None:
        raise config.wrong("data.subset", data.subset, f"null with data.path={data.path}, which save_to_disk wrote")
    if split not in saved:
        allowed = f"{config.alternatives(list(saved))}, the whole splits that save_to_disk wrote into {data.path}"
        raise config.wrong(f"data.{part}_split", split, allowed)
    try:
        rows = datasets.load_from_disk(saved[split])
    except IndexError as error:  # what the library makes of no rows at all
        raise config.wrong(f"data.{part}_split", split, "a split with rows in it") from error
    return rows.to_iterable_dataset() if data.streaming else rows


def _from_hub(data: config.HubDataset, part: str, split: str) -> Rows:
    try:
        return datasets.load_dataset(str(data.path), data.subset, split=split, streaming=data.streaming)
    except ValueError as error:
        if "nknown split" not in str(error) and "Bad split" not in str(error):
            raise
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise config.wrong(f"data.{part}_split", split, f"a split of {data.path} ({reason})") from error


def _columns(data: config.HubDataset, split: str, rows: Rows) -> Rows:
    fields = (
        {"text": data.text_field} if data.text_field else {"source": data.source_field, "target": data.target_field}
    )

    def pick(row: dict[str, Any], number: int) -> dict[str, str]:
        place = f"row {number} of {split}"
        return {column: _text(row, f"data.{column}_field", str(field), place) for column, field in fields.items()}

    for first in islice(rows, 1):
        pick(first, 0)  # a streamed dataset would refuse a field only later, inside of its own errors
    stream = rows if data.streaming or not len(rows) else rows.to_iterable_dataset()  # which an empty one can't become
    return stream.map(pick, with_indices=True, remove_columns=rows.column_names)


def _text(row: dict[str, Any], setting: str, field: str, place: str) -> str:
    """A text under a column's name, or inside nested columns where the name has dots."""
    values = _flat(row)
    if field not in values:
        raise config.wrong(setting, field, f"{config.alternatives(list(values))}{config.nearest(field, list(values))}")
    value = values[field]
    if not isinstance(value, str | int | float):
        held = "nothing" if value is None else f"a {type(value).__name__}"
        raise config.wrong(setting, field, f"a column of texts, and {place} holds {held}")
    return str(value)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a row, those inside nested columns under names with dots."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        inner = _flat(value) if isinstance(value, Mapping) else {}
        found |= {f"{name}.{key}": part for key, part in inner.items()} or {name: value}
    return found
