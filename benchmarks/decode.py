"""Decoding, from text lines to text lines: decode.py's own way in each precision, with one process and with several, and
among likely words only, beside a plain loop, in one run.

    python benchmarks/decode.py RUN TEST.src TEST.tgt [--shortlist TRAIN.src TRAIN.tgt] [--processes 1 2] [--lines 1000]
        [--batch 64]

RUN is a checkpoint of a translator, or the folder of its run. The plain loop is what a user would write: the same model and
beams, every hypothesis with a copy of its source, a sentence done when its best hypothesis ends. Loading, and the start of
processes, is not counted. All on a GPU where there is one, with the share of the time that it is busy, else on the CPU. Parts
are those of one step of a full batch, beside the floor: the work over the rate of this device's largest product, or the bytes
that must be read over its rate of reading. Figures need a machine that does nothing else.
"""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from itertools import product as combinations
from pathlib import Path
from typing import Any, cast

import sacrebleu
import torch
from measure import busy, medians, show

from throughtime import build, config, memory
from throughtime.build import Decodable
from throughtime.compose import composed
from throughtime.data.batch import pad
from throughtime.data.tokenizer import BOS, EOS
from throughtime.nn.models import EncoderDecoder
from throughtime.nn.precision import Precision, product, why_not
from throughtime.nn.state import select_rows
from throughtime.run.decode.loading import files
from throughtime.run.decode.reading import Line
from throughtime.run.decode.sources import Source
from throughtime.run.decode.workers import Submit, in_order, workers
from throughtime.search.extensions import best_extensions

PRECISIONS: tuple[Precision, ...] = ("float32", "bf16", "int8")
DEVICE = build.device("auto")
ON_DEVICE: AbstractContextManager[Any] = DEVICE if DEVICE.type == "cuda" else nullcontext()


# what a user would write ---------------------------------------------------------------------------------------------


@torch.no_grad()
def plain_loop(found: Decodable, batch: list[list[int]], size: int, longest: int) -> list[list[int]]:
    """Beam search over the model's own `start` and its decoder's steps, ranked by log-probability per token."""
    model, count = cast(EncoderDecoder, found.model), len(batch)
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
        readout, state = model.decoder(last, state)
        scores = totals[..., None] + torch.log_softmax(model.output(readout[:, -1]), dim=-1).view(count, size, -1)
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


def plainly(found: Decodable, lines: list[str], choice: config.Beam, batch: int) -> list[str]:
    """The plain loop over lines of about equal length."""
    source, target = (found.tokenizers[side] for side in ("source", "target"))
    rows = source.encode_batch(lines)
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    texts = [""] * len(lines)
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        with ON_DEVICE:
            results = plain_loop(found, [rows[place] for place in places], choice.size, choice.max_length)
        for place, tokens in zip(places, results, strict=True):
            texts[place] = target.decode(tokens)
    return texts


# this project --------------------------------------------------------------------------------------------------------


def decoding(stack: ExitStack, settings: config.DecodeConfig, lines: list[str]) -> Callable[[], list[str]]:
    """As decode.py decodes a file; its processes end with the stack."""
    submit: Submit = stack.enter_context(workers(settings, files(settings), None))
    source = Source(path=None, target=None, reads_json=False, writes_json=False)
    block = [Line(place, line.encode()) for place, line in enumerate(lines, start=1)]

    def decoded() -> list[str]:
        return [answer.gist for _, answers in in_order(iter([block]), source, submit, settings) for answer in answers]

    return decoded


# the parts of a step -------------------------------------------------------------------------------------------------


@torch.no_grad()
def parts(found: Decodable, precision: Precision, sentences: int, size: int) -> list[dict[str, Any]]:
    """Milliseconds of each part of a step with `sentences` x `size` hypotheses, beside its floor."""
    model, rows = cast(Any, found.model), sentences * size
    cell, readout = model.decoder.stack.layers[0].cells[0], model.decoder.readout.linear
    hidden, vocabulary = cell.hidden, model.output.out_features
    state = {name: torch.tanh(torch.randn(rows, size)) for name, size in cell.sizes.items()}
    h = state[cell.states[0]]
    values, gates = torch.randn(sentences, 15, hidden), torch.randn(rows, cell.projected)
    queries = h.view(sentences, size, hidden)
    logits, totals = torch.randn(sentences, size, vocabulary), torch.zeros(sentences, size)
    weights = {"recurrent product": (cell.weight_hidden, h), "readout product": (readout.weight[:, :hidden], h)}
    weights["output product"] = (model.output.weight, torch.randn(rows, model.output.in_features))
    largest = product(torch.randn(4096, 4096), None, precision)
    wide = torch.randn(rows, 4096)
    jobs: dict[str, Callable[[], Any]] = {"rate": lambda: largest(wide), "reading": lambda: logits.amax(dim=-1)}
    for name, (weight, x) in weights.items():
        multiplied = product(weight, None, precision)
        jobs[name] = lambda multiplied=multiplied, x=x: multiplied(x)
    jobs["cell"] = lambda: cell.step(gates, gates, state)
    jobs["attention"] = lambda: (queries @ values.transpose(1, 2)).softmax(dim=-1) @ values
    jobs["log-softmax"] = lambda: torch.log_softmax(logits, dim=-1)
    jobs["choice"] = lambda: best_extensions(logits, totals, 2 * size)
    jobs["reordering"] = lambda: select_rows(state, torch.arange(rows))
    took = medians(jobs, 20)
    multiplications = {name: rows * weight.numel() for name, (weight, _) in weights.items()}
    bytes_read = {
        "cell": 4 * 10 * rows * hidden,
        "attention": 4 * 2 * values.numel(),
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
    memory.keep_freed()
    chosen = arguments()
    base = ["search.max_length=100", f"checkpoint={chosen.run}", f"search.size={chosen.beam}"]
    settings = config.check(composed("decode", base), config.DecodeConfig)
    found = build.from_checkpoints(files(settings).models)
    found.model.to(DEVICE)
    choice = cast(config.Beam, settings.search)
    lines, references = (
        Path(name).read_text(encoding="utf-8").splitlines()[: chosen.lines]
        for name in (chosen.source, chosen.references)
    )
    usable = [precision for precision in PRECISIONS if why_not(precision, DEVICE) is None]
    words = {"": []} | ({", shortlist": listed(*chosen.shortlist)} if chosen.shortlist else {})
    for batch in chosen.batch:
        jobs: dict[str, Callable[[], list[str]]] = {"plain loop": partial(plainly, found, lines, choice, batch)}
        with ExitStack() as stack:
            for precision, count, (name, asked) in combinations(usable, chosen.processes, words.items()):
                overrides = [*base, *asked, f"precision={precision}", f"devices={count}", f"batch={batch}"]
                one = config.check(composed("decode", overrides), config.DecodeConfig)
                jobs[f"{precision}, {count} process{'es' * (count > 1)}{name}"] = decoding(stack, one, lines)
            texts = {name: job() for name, job in jobs.items()}  # which warms all of them up
            took = medians(jobs, chosen.rounds, warm_up=0)
            kernels = {name: busy(job) for name, job in jobs.items()} if DEVICE.type == "cuda" else {}
        rows = [_row(name, took[name], kernels.get(name), texts[name], references, found) for name in jobs]
        show("decoding", rows, lines=len(lines), batch=batch, beam=chosen.beam)
        with ON_DEVICE:
            measured = [part for precision in usable for part in parts(found, precision, batch, chosen.beam)]
        show("the parts of a step", measured, batch=batch, beam=chosen.beam)


def arguments() -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run", "source", "references"):
        parser.add_argument(name)
    parser.add_argument("--shortlist", nargs=2, metavar=("SOURCE", "TARGET"))
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2] if DEVICE.type == "cpu" else [1])
    parser.add_argument("--batch", nargs="+", type=int, default=[64])
    for name, value in (("lines", 1000), ("beam", 5), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def listed(source: str, target: str) -> list[str]:
    """The settings of a shortlist."""
    return [f"shortlist.source='{source}'", f"shortlist.target='{target}'"]


def _row(
    name: str, took: float, kernels: float | None, texts: list[str], references: list[str], found: Decodable
) -> dict[str, Any]:
    """Of what took so many milliseconds, those of the GPU's kernels among them."""
    tokens = sum(len(ids) + 1 for ids in found.tokenizers["target"].encode_batch(texts))
    share = {} if kernels is None else {"GPU busy": f"{100 * kernels / took:.0f} %"}
    return {
        "decoder": name,
        "sentences/s": round(1000 * len(texts) / took, 1),
        "tokens/s": round(1000 * tokens / took),
        **share,
        "BLEU": round(sacrebleu.corpus_bleu(texts, [references]).score, 2),
        "tokens a line": round(tokens / len(texts), 1),
    }


if __name__ == "__main__":
    main()
