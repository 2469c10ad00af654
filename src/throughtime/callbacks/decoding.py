"""Decodes at the end of each validation: fixed examples to read, and the whole split for the metrics."""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import lightning
import torch
from rich.console import Console
from rich.progress import track

from throughtime import config
from throughtime.callbacks.tracking import Tracker
from throughtime.data.pairs import open_pairs
from throughtime.data.prepare import Prepared
from throughtime.data.splits import EVALUATED
from throughtime.data.stream import open_stream
from throughtime.data.tokenizer import EOS, Tokenizer, encode_known
from throughtime.search import Demands, Stepper, banned, contained, search, search_all, stepper_of
from throughtime.train.quality import matches_by_kind, text_scores
from throughtime.train.ranks import from_all_ranks
from throughtime.whole import whole_file

BATCH = 64  # rows decoded together

Sample = dict[str, Any]


class Decoding(lightning.Callback):
    """Writes `samples/epoch=NNN.jsonl`, logs the table `samples`, and for pairs logs the text metrics.

    Pairs are decoded by `search`; a language model continues its prompts by `search` and by `sampling`. Every search
    has its own random generator, so that decoding does not affect training.
    """

    def __init__(self, settings: config.TrainConfig, prepared: Prepared, tracker: Tracker, folder: Path):
        self._settings, self._tracker, self._folder = settings, tracker, folder
        self.samples: list[Sample] = []  # of the last validation
        self._examples: Prompts | Pairs = (
            Prompts(settings, prepared) if config.reads_text(settings.data) else Pairs(settings, prepared)
        )

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.samples = self._decode(trainer, pl_module, "val")
        if trainer.is_global_zero and self.samples:
            self._write(trainer)

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if isinstance(self._examples, Pairs):  # prompts are for reading, and have no metrics
            self._decode(trainer, pl_module, "test")

    def _decode(self, trainer: lightning.Trainer, pl_module: Any, split: str) -> list[Sample]:
        samples, scores = self._examples.decoded(stepper_of(pl_module.model), split, trainer)
        pl_module.log_dict({f"{split}/{name}": value for name, value in scores.items()})
        return samples

    def _write(self, trainer: lightning.Trainer) -> None:
        self._folder.mkdir(exist_ok=True)
        at = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        path = self._folder / f"epoch={trainer.current_epoch:03d}.jsonl"
        earlier = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = [json.dumps({**at, **sample}, ensure_ascii=False) + "\n" for sample in self.samples]
        with whole_file(path) as fresh:
            fresh.write_text(earlier + "".join(lines), encoding="utf-8")
        self._tracker.table("samples", [_row(sample) for sample in self.samples], trainer.global_step)


class Pairs:
    """Source sentences and their references."""

    def __init__(self, settings: config.TrainConfig, prepared: Prepared):
        self._settings, self._prepared = settings, prepared
        self._tokenizer = prepared.tokenizers["target"]

    def decoded(
        self, stepper: Stepper, split: str, trainer: lightning.Trainer
    ) -> tuple[list[Sample], dict[str, float]]:
        """The first examples of a split, and the metrics over all of it (over `decoding.sentences` for validation)."""
        pairs = open_pairs(self._prepared.folder / EVALUATED[split])
        if split == "val":
            pairs = pairs.select(range(min(self._settings.decoding.sentences or len(pairs), len(pairs))))
        results = self._search(stepper, pairs, trainer)
        texts = [hypotheses[0]["text"] for hypotheses in results]
        examples = range(min(self._settings.decoding.examples, len(pairs)))
        samples = [_pair(pairs[place], results[place], self._settings.search.name) for place in examples]
        return samples, self._scores(texts, pairs)

    def _scores(self, texts: list[str], pairs: Any) -> dict[str, float]:
        """The `metrics=`; where rows are of different kinds, also the exact matches of each kind."""
        scores = text_scores(self._settings.metrics, texts, pairs["target"][:])
        if "kind" in pairs.column_names and "exact_match" in scores:
            scores |= matches_by_kind(texts, pairs["target"][:], pairs["kind"][:])
        return scores

    def _search(self, stepper: Stepper, pairs: Any, trainer: lightning.Trainer) -> list[list[Sample]]:
        """All pairs, shared among the ranks."""
        lengths = pairs["source_length"][:]
        mine = sorted(range(len(pairs)), key=lambda row: lengths[row])[trainer.global_rank :: trainer.world_size]
        random = torch.Generator().manual_seed(self._settings.seed + trainer.global_rank)
        choice, decode, shown = self._settings.search, self._tokenizer.decode, partial(_shown, trainer.is_global_zero)
        demands, sources = _demands(choice, self._tokenizer), pairs[mine]["source_ids"]
        results = search_all(choice, stepper, sources, random, BATCH, demands, decode, shown)
        described = ([one.described(decode) for one in hypotheses] for hypotheses in results)
        found = dict(zip(mine, described, strict=True))
        whole = {row: hypotheses for part in from_all_ranks(found) for row, hypotheses in part.items()}
        return [whole[row] for row in range(len(pairs))]


class Prompts:
    """Prompts for a language model: the user's, or excerpts evenly spread over the validation text."""

    def __init__(self, settings: config.TrainConfig, prepared: Prepared):
        self._settings, self._tokenizer = settings, prepared.tokenizers["text"]
        given = settings.decoding.prompts
        self._prompts = self._spread(prepared) if given is None else self._encoded(given)

    def _encoded(self, given: Sequence[str]) -> list[list[int]]:
        return [encode_known(self._tokenizer, prompt, "decoding.prompts") for prompt in given]

    def _spread(self, prepared: Prepared) -> list[list[int]]:
        text = open_stream(prepared.folder / "validation.bin", self._tokenizer.size)
        count, length = self._settings.decoding.examples, self._settings.decoding.prompt_length
        starts = [place * len(text) // max(1, count) for place in range(count)]
        places = [text[start : start + length].astype(int).tolist() for start in starts]
        return [list(takewhile(lambda token: token != EOS, tokens)) for tokens in places]

    def decoded(
        self, stepper: Stepper, split: str, trainer: lightning.Trainer
    ) -> tuple[list[Sample], dict[str, float]]:
        """Each prompt with its continuations; no metrics."""
        if not self._prompts or not trainer.is_global_zero:
            return [], {}
        samples = []
        for choice in (self._settings.search, self._settings.sampling):
            random = torch.Generator().manual_seed(self._settings.seed)
            demands, decode = _demands(choice, self._tokenizer), self._tokenizer.decode
            results = search(choice, stepper, self._prompts, random, demands, decode)
            for prompt, hypotheses in zip(self._prompts, results, strict=True):
                found = [one.described(decode) for one in hypotheses]
                samples.append({"search": choice.name, "prompt": decode(prompt), "hypotheses": found})
        return samples, {}


def _shown(here: bool, batches: list[list[int]]) -> Iterable[list[int]]:
    """Iterates over the batches, with a progress bar on a terminal."""
    console = Console(stderr=True)
    return track(batches, "decoding", console=console, transient=True, disable=not (here and console.is_terminal))


def _demands(choice: config.Search, tokenizer: Tokenizer) -> Demands:
    return Demands(contained=contained(choice, tokenizer.encode), banned=banned(choice, tokenizer.encode))


def _pair(pair: dict[str, Any], hypotheses: list[Sample], name: str) -> Sample:
    return {"search": name, "source": pair["source"], "reference": pair["target"], "hypotheses": hypotheses}


def _row(sample: Sample) -> dict[str, Any]:
    """A sample as one row of a table, its best hypothesis only."""
    best = sample["hypotheses"][0]
    return {
        **{key: value for key, value in sample.items() if key != "hypotheses"},
        "text": best["text"],
        "score": best["score"],
    }
