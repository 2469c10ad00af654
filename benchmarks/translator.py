"""The model that decoding is measured with: BiLSTM encoder of 256 units a direction, LSTM decoder of 512 with attention,
embeddings of 256, 8,000 byte pairs a side; trained for some minutes, once, and kept under `outputs/`."""

import hashlib
import time
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import nn

from throughtime import build, config
from throughtime.compose import composed
from throughtime.data.pairs import PairLoader, open_pairs
from throughtime.data.prepare import Prepared, prepare
from throughtime.nn.models import EncoderDecoder
from throughtime.train.output_loss import output_loss

SHAPE = [
    "model.embedding=256",
    "model.hidden=512",
    "encoder.hidden=256",
    "context=general",
    "tokenizer.vocabulary=8000",
    "dropout=zaremba",
    "dropout.rate=0.2",
]
KEPT = Path("outputs/benchmarks")


class Translator(NamedTuple):
    """The model with what it was trained on."""

    model: EncoderDecoder
    prepared: Prepared


def translator(source: str, target: str, minutes: float) -> Translator:
    """The model trained on two aligned files; the same files and minutes give the kept one."""
    files = ["data=pairs", f"data.source_path='{source}'", f"data.target_path='{target}'"]
    settings = config.check(composed("train", [*files, *SHAPE]), config.TrainConfig)
    prepared = prepare(settings.data, settings.tokenizer, KEPT)
    torch.manual_seed(1)
    sizes = {side: tokenizer.size for side, tokenizer in prepared.tokenizers.items()}
    model = cast(EncoderDecoder, build.model(settings, sizes))
    path = KEPT / f"{hashlib.sha256(f'{source} {target} {minutes:g}'.encode()).hexdigest()[:12]}.pt"
    if not path.exists():
        train(model, prepared, minutes)
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return Translator(model.eval(), prepared)


def train(model: EncoderDecoder, prepared: Prepared, minutes: float) -> None:
    """Adam, the rate falling in a line to nothing over the minutes."""
    optimizer = torch.optim.Adam(model.parameters())
    loader = PairLoader(open_pairs(prepared.folder / "train"), 2048, longest=100, seed=1)
    started, gone = time.perf_counter(), 0.0
    while gone < 1:
        for batch in loader:
            gone = (time.perf_counter() - started) / (60 * minutes)
            if gone >= 1:
                return
            optimizer.param_groups[0]["lr"] = 2e-3 * (1 - gone)
            with torch.autocast("cpu", torch.bfloat16):
                features = model.features(batch.source, batch.source_lengths, batch.tokens)
                losses = output_loss(model.output, features, batch.targets)
            optimizer.zero_grad()
            (losses.minimised / losses.targets).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
