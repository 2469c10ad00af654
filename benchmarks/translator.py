"""The model that decoding is measured with: BiLSTM encoder of 256 units a direction, LSTM decoder of 512 with attention,
embeddings of 256, 8,000 byte pairs a side; trained for some minutes, once, and kept under `outputs/`."""

import hashlib
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from throughtime import config
from throughtime.compose import composed
from throughtime.data.pairs import PairLoader, open_pairs
from throughtime.data.prepare import Prepared, prepare
from throughtime.nn.attention import DotAttention
from throughtime.nn.cells import Lstm
from throughtime.nn.decoder import Bridge, Decoder
from throughtime.nn.dropout import Rates
from throughtime.nn.encoder import Encoder
from throughtime.nn.models import EncoderDecoder
from throughtime.nn.stack import Stack
from throughtime.train.loss import token_loss

VOCABULARY, EMBEDDING, ENCODER, DECODER = 8000, 256, 256, 512
KEPT = Path("outputs/benchmarks")


class Translator(NamedTuple):
    """The model with what it was trained on."""

    model: EncoderDecoder
    prepared: Prepared


def translator(source: str, target: str, minutes: float) -> Translator:
    """The model trained on two aligned files; the same files and minutes give the kept one."""
    overrides = ["data=pairs", f"data.source_path='{source}'", f"data.target_path='{target}'", "tokenizer=bpe"]
    settings = config.check(composed("train", [*overrides, f"tokenizer.vocabulary={VOCABULARY}"]), config.TrainConfig)
    prepared = prepare(settings.data, settings.tokenizer, KEPT)
    torch.manual_seed(1)
    model = untrained(prepared.tokenizers["source"].size, prepared.tokenizers["target"].size)
    path = KEPT / f"{hashlib.sha256(f'{source} {target} {minutes}'.encode()).hexdigest()[:12]}.pt"
    if not path.exists():
        train(model, prepared, minutes)
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return Translator(model.eval(), prepared)


def untrained(source: int, target: int) -> EncoderDecoder:
    rates = Rates(inputs=0.2, outputs=0.2)
    read = Stack(Lstm, EMBEDDING, [ENCODER], bidirectional=True, rates=rates)
    write = Stack(Lstm, EMBEDDING, [DECODER], rates=rates)
    encoder = Encoder(nn.Embedding(source, EMBEDDING), read, rates)
    attention = DotAttention(DECODER, read.width)
    decoder = Decoder(nn.Embedding(target, EMBEDDING), write, Bridge(read, write), attention, read.width, rates)
    return EncoderDecoder(encoder, decoder, nn.Linear(DECODER, target), rates)


def train(model: EncoderDecoder, prepared: Prepared, minutes: float) -> None:
    """Adam, the rate falling in a line to nothing over the minutes."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = PairLoader(open_pairs(prepared.folder / "train"), 2048, longest=100, seed=1)
    started, gone = time.perf_counter(), 0.0
    while gone < 1:
        for batch in loader:
            gone = (time.perf_counter() - started) / (60 * minutes)
            if gone >= 1:
                break
            optimizer.param_groups[0]["lr"] = 2e-3 * (1 - gone)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(batch.source, batch.source_lengths, batch.tokens)
            total, count = token_loss(logits.float(), batch.targets)
            optimizer.zero_grad()
            (total / count).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        print(f"trained {min(gone, 1):.0%}, loss {float(total / count):.3f}", flush=True)
