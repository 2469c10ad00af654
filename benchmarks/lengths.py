"""Where a translator loses its source: exact match by the length of the source, for every job of a sweep.

    python benchmarks/lengths.py outputs/sweeps/TIME [--parts 3]

The test pairs of each job are put in order of their sources' tokens and cut into parts of equal size; each is decoded by the
job's own search, from its best checkpoint.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
import yaml
from measure import show

from throughtime import build, config
from throughtime.data.pairs import open_pairs
from throughtime.data.prepare import prepare
from throughtime.search import search_all, stepper_of
from throughtime.train.quality import MEASURES

BATCH = 64


def row_of(job: dict[str, Any], shared: set[str], parts: int) -> dict[str, Any]:
    """What a job has chosen by itself, and the percent of exact matches over all pairs and over each part of them."""
    settings = config.check(yaml.safe_load((Path(job["folder"]) / "config.yaml").read_text()), config.TrainConfig)
    member = build.from_checkpoints([Path(job["checkpoints"]["best"])])
    prepared = prepare(settings.data, settings.tokenizer, Path(settings.outputs) / "cache")
    pairs = open_pairs(prepared.folder / "test")
    lengths, ids, targets = (pairs[name][:] for name in ("source_length", "source_ids", "target"))
    order = sorted(range(len(pairs)), key=lambda place: lengths[place])
    sources, references = [ids[place] for place in order], [targets[place] for place in order]
    found = search_all(settings.search, stepper_of(member.model), sources, torch.Generator(), BATCH)
    texts = [member.tokenizers["target"].decode(best.tokens) for best, *_ in found]
    scores = {"all": MEASURES["exact_match"](texts, references)}
    for part in range(parts):
        cut = slice(part * len(order) // parts, (part + 1) * len(order) // parts)
        tokens = statistics.mean(map(len, sources[cut]))
        scores[f"about {tokens:.0f} tokens"] = MEASURES["exact_match"](texts[cut], references[cut])
    choices = dict(choice.split("=", 1) for choice in job["overrides"] if choice not in shared)
    return choices | {name: round(score, 1) for name, score in scores.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--parts", type=int, default=3)
    chosen = parser.parse_args()
    jobs = [job for job in json.loads((chosen.sweep / "sweep.json").read_text())["jobs"] if job["state"] == "done"]
    shared = set.intersection(*(set(job["overrides"]) for job in jobs))
    rows = [row_of(job, shared, chosen.parts) for job in sorted(jobs, key=lambda job: job["job"])]
    show("exact match by the source's length", rows)


if __name__ == "__main__":
    main()
