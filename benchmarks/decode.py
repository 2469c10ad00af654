"""Decoding, from text lines to text lines: this project's beam search in each precision beside a plain loop, in one run.

    python benchmarks/decode.py TRAIN.src TRAIN.tgt TEST.src TEST.tgt [--minutes 20] [--lines 1000] [--batch 64] [--beam 5]

The model (benchmarks/translator.py) is trained on the first two files for some minutes, once, and the shortlist is learned
from them. The plain loop is what a user
would write: the same model and beams, every hypothesis with a copy of its source, a sentence done when its best hypothesis
ends. Parts are those of one step of a full batch, beside the floor: the work over the rate of this machine's largest
product, or the bytes that must be read over its rate of reading. Figures need a machine that does nothing else.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sacrebleu
import torch
from measure import medians, show
from torch import Tensor
from translator import KEPT, Translator, translator

from throughtime import config
from throughtime.compose import composed
from throughtime.data.batch import pad
from throughtime.data.tokenizer import BOS, EOS
from throughtime.nn.precision import Precision, product, why_not
from throughtime.nn.state import select_rows
from throughtime.run.decode.lexical import lexical_shortlist
from throughtime.search import Shortlist, Stepper, search_all, stepper_of
from throughtime.search.extensions import best_extensions

PRECISIONS: tuple[Precision, ...] = ("float32", "bf16", "int8")


# what a user would write ---------------------------------------------------------------------------------------------


@torch.no_grad()
def plain_loop(found: Translator, batch: list[list[int]], size: int, longest: int) -> list[list[int]]:
    """Beam search over the model's own `start` and `step`, ranked by log-probability per token."""
    model, count = found.model, len(batch)
    closed = [[*source, EOS] for source in batch]
    state = model.start(pad(closed), torch.tensor([len(source) for source in closed]))
    state = select_rows(state, torch.arange(count).repeat_interleave(size))
    last = torch.full((count * size, 1), BOS)
    totals = torch.full((count, size), -torch.inf)
    totals[:, 0] = 0
    tokens = torch.zeros(count, size, 0, dtype=torch.long)
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in batch]
    done = [False] * count
    for length in range(1, longest + 1):
        logits, state = model.step(last, state)
        scores = totals[..., None] + torch.log_softmax(logits[:, -1], dim=-1).view(count, size, -1)
        totals, places = scores.flatten(1).topk(size)
        parents, chosen = places // scores.shape[2], places % scores.shape[2]
        tokens = torch.cat([tokens.gather(1, parents[..., None].expand_as(tokens)), chosen[..., None]], dim=2)
        for sentence in range(count):
            for place in range(size):
                if chosen[sentence, place] == EOS and not done[sentence]:
                    score = float(totals[sentence, place]) / length
                    finished[sentence].append((score, tokens[sentence, place, :-1].tolist()))
            done[sentence] = done[sentence] or bool(chosen[sentence, 0] == EOS) or len(finished[sentence]) >= size
        totals = totals.masked_fill(chosen == EOS, -torch.inf)
        if all(done):
            break
        state = select_rows(state, (parents + size * torch.arange(count)[:, None]).flatten())
        last = chosen.view(-1, 1)
    best = [max(found, default=(0.0, tokens[place, 0].tolist())) for place, found in enumerate(finished)]
    return [hypothesis for _, hypothesis in best]


def plainly(found: Translator, lines: list[str], choice: config.Beam, batch: int) -> list[str]:
    """The plain loop over lines of about equal length."""
    source, target = (found.prepared.tokenizers[side] for side in ("source", "target"))
    rows = source.encode_batch(lines)
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    texts = [""] * len(lines)
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        results = plain_loop(found, [rows[place] for place in places], choice.size, choice.max_length)
        for place, tokens in zip(places, results, strict=True):
            texts[place] = target.decode(tokens)
    return texts


# this project --------------------------------------------------------------------------------------------------------


def ours(
    found: Translator,
    stepper: Stepper,
    lines: list[str],
    choice: config.Beam,
    batch: int,
    shortlist: Shortlist | None = None,
) -> list[str]:
    """As decode.py does it."""
    source, target = (found.prepared.tokenizers[side] for side in ("source", "target"))
    results = search_all(choice, stepper, source.encode_batch(lines), torch.Generator(), batch, shortlist=shortlist)
    return [target.decode(hypotheses[0].tokens) for hypotheses in results]


class Counted:
    """A stepper that counts its steps and the hypotheses in them."""

    def __init__(self, stepper: Stepper):
        self._stepper, self.steps, self.rows = stepper, 0, 0
        self.start, self.reorder = stepper.start, stepper.reorder

    def step(self, tokens: Tensor, state: Any) -> Any:
        self.steps, self.rows = self.steps + 1, self.rows + tokens.numel()
        return self._stepper.step(tokens, state)


# the parts of a step -------------------------------------------------------------------------------------------------


@torch.no_grad()
def parts(found: Translator, precision: Precision, sentences: int, size: int) -> list[dict[str, Any]]:
    """Milliseconds of each part of a step with `sentences` x `size` hypotheses, beside its floor."""
    model, rows = found.model, sentences * size
    cell, readout = model.decoder.stack.layers[0].cells[0], model.decoder.readout.linear
    hidden, vocabulary = cell.hidden, model.output.out_features
    h, both = torch.tanh(torch.randn(rows, hidden)), torch.tanh(torch.randn(rows, readout.in_features))
    memory, gates = torch.randn(sentences, 15, hidden), torch.randn(rows, 4 * hidden)
    queries, state = h.view(sentences, size, hidden), {"h": h, "c": h.clone()}
    logits, totals = torch.randn(sentences, size, vocabulary), torch.zeros(sentences, size)
    weights = {"recurrent product": (cell.weight_hidden, h), "readout product": (readout.weight, both)}
    weights["output product"] = (model.output.weight, h)
    largest = product(torch.randn(4096, 4096), None, precision)
    wide = torch.randn(rows, 4096)
    jobs: dict[str, Callable[[], Any]] = {"rate": lambda: largest(wide), "reading": lambda: logits.amax(dim=-1)}
    for name, (weight, x) in weights.items():
        multiplied = product(weight, None, precision)
        jobs[name] = lambda multiplied=multiplied, x=x: multiplied(x)
    jobs["cell"] = lambda: cell.step(gates, gates, state)
    jobs["attention"] = lambda: (queries @ memory.transpose(1, 2)).softmax(dim=-1) @ memory
    jobs["log-softmax"] = lambda: torch.log_softmax(logits, dim=-1)
    jobs["choice"] = lambda: best_extensions(logits, totals, 2 * size)
    jobs["reordering"] = lambda: select_rows(state, torch.arange(rows))
    took = medians(jobs, 20)
    multiplications = {name: rows * weight.numel() for name, (weight, _) in weights.items()}
    bytes_read = {
        "cell": 4 * 10 * rows * hidden,
        "attention": 4 * 2 * memory.numel(),
        "log-softmax": 4 * 2 * logits.numel(),
        "choice": 4 * logits.numel(),
        "reordering": 4 * 4 * rows * hidden,
    }
    a_multiplication, a_byte = took["rate"] / (rows * 4096 * 4096), took["reading"] / (4 * logits.numel())
    floors = {name: count * a_multiplication for name, count in multiplications.items()}
    floors |= {name: count * a_byte for name, count in bytes_read.items()}
    return [
        {"precision": precision, "part": name, "ms": took[name], "floor ms": round(floor, 2)}
        for name, floor in floors.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("train_source", "train_target", "source", "references"):
        parser.add_argument(name)
    parser.add_argument("--minutes", type=float, default=20)
    for name, value in (("lines", 1000), ("batch", 64), ("beam", 5), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    chosen = parser.parse_args()
    found = translator(chosen.train_source, chosen.train_target, chosen.minutes)
    lines, references = (
        Path(name).read_text(encoding="utf-8").splitlines()[: chosen.lines]
        for name in (chosen.source, chosen.references)
    )
    values = composed("decode", ["checkpoint=last", f"search.size={chosen.beam}", "search.max_length=100"])
    choice = config.check(values, config.DecodeConfig).search
    assert isinstance(choice, config.Beam)
    usable = [precision for precision in PRECISIONS if why_not(precision, torch.device("cpu")) is None]
    plain = {precision: stepper_of(found.model, precision) for precision in usable}
    steppers = {precision: Counted(stepper) for precision, stepper in plain.items()}
    tokenizers = found.prepared.tokenizers
    asked = config.check(
        values["shortlist"] | {"source": chosen.train_source, "target": chosen.train_target}, config.Shortlist
    )
    shortlist = lexical_shortlist(asked, tokenizers["source"], tokenizers["target"], KEPT)
    jobs: dict[str, Callable[[], list[str]]] = {"plain loop": lambda: plainly(found, lines, choice, chosen.batch)}
    for name, stepper in steppers.items():
        jobs[f"throughtime {name}"] = lambda stepper=stepper: ours(found, stepper, lines, choice, chosen.batch)
        jobs[f"throughtime {name}, shortlist"] = lambda stepper=plain[name]: ours(
            found, stepper, lines, choice, chosen.batch, shortlist
        )
    texts = {name: job() for name, job in jobs.items()}  # which warms all of them up
    work = {name: {"steps": counted.steps, "rows": counted.rows} for name, counted in steppers.items()}
    took = medians(jobs, chosen.rounds, warm_up=0)
    rows = [_row(name, took[name] / 1000, texts[name], references, found) for name in jobs]
    measured = [part for precision in usable for part in parts(found, precision, chosen.batch, chosen.beam)]
    show("the parts of a step", measured, batch=chosen.batch, beam=chosen.beam)
    show("decoding", rows, lines=len(lines), batch=chosen.batch, beam=chosen.beam, work=work, parts=measured)


def _row(name: str, seconds: float, texts: list[str], references: list[str], found: Translator) -> dict[str, Any]:
    tokens = sum(len(ids) + 1 for ids in found.prepared.tokenizers["target"].encode_batch(texts))
    return {
        "decoder": name,
        "sentences/s": round(len(texts) / seconds, 1),
        "tokens/s": round(tokens / seconds),
        "BLEU": round(sacrebleu.corpus_bleu(texts, [references]).score, 2),
        "tokens a line": round(tokens / len(texts), 1),
    }


if __name__ == "__main__":
    main()
