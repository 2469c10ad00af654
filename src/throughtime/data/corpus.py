"""The corpus of `data=`: three splits of rows with `text`, or with `source` and `target`."""

from typing import Any

from throughtime import config
from throughtime.data import hub, numbers, pair_files, paths, stdlib, stories, text_files


def identity(data: config.Data) -> dict[str, Any]:
    """Plain facts that determine the corpus; equal facts mean equal rows."""
    match data:
        case config.NumberWords():
            return numbers.identity(data)
        case config.Stories():
            return stories.identity(data)
        case config.StdlibDocs() | config.StdlibPairs():
            return stdlib.identity(data)
        case config.TextFiles() | config.PairFiles():
            return paths.identity(data)
        case config.HubDataset():
            return hub.identity(data)


def read(data: config.Data) -> dict[str, Any]:
    """`train`, `validation` and `test` as `datasets` objects, which can be gone through again and again."""
    match data:
        case config.NumberWords():
            return numbers.number_words(data)
        case config.Stories():
            return stories.stories(data)
        case config.StdlibDocs():
            return stdlib.docs(data)
        case config.StdlibPairs():
            return stdlib.pairs(data)
        case config.TextFiles():
            return text_files.text(data)
        case config.PairFiles():
            return pair_files.pairs(data)
        case config.HubDataset():
            return hub.hub(data)
