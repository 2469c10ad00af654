"""A language model, one that continues a prefix, and an encoder-decoder: ids and state in, logits and state out."""

from functools import partial

import torch
from torch import Tensor, nn

from throughtime.data.tokenizer import BOS, PAD
from throughtime.nn.decoder import Decoder, DecoderState, cut_off
from throughtime.nn.dropout import Rates, WordDropout
from throughtime.nn.encoder import Encoder
from throughtime.nn.stack import Stack, StackState, TextNoise
from throughtime.nn.state import in_chunks
from throughtime.nn.token_draw import token_at


class LanguageModel(nn.Module):
    """p(x_t | x_<t): embedding -> stack -> dropout -> output."""

    def __init__(self, embedding: nn.Embedding, stack: Stack, output: nn.Linear, rates: Rates):
        super().__init__()
        self.embedding, self.stack, self.output = embedding, stack, output
        self.word_dropout, self.dropout = (
            WordDropout(embedding.num_embeddings, rates.words),
            rates.dropout(rates.outputs),
        )

    def forward(self, tokens: Tensor, state: StackState | None = None) -> tuple[Tensor, StackState]:
        """(batch, time) and the state carried in -> logits (batch, time, vocabulary) and the state after the last step."""
        outputs, state = self.outputs(tokens, state)
        return self.output(self.dropout(outputs)), state

    def draw(self, rows: int) -> TextNoise | None:
        """In training, the noise of texts that come in parts; without it every part draws its own."""
        return (
            TextNoise(self.word_dropout.draw(self.embedding.weight), self.stack.draw(rows)) if self.training else None
        )

    def outputs(
        self,
        tokens: Tensor,
        state: StackState | None = None,
        resets: Tensor | None = None,
        lengths: Tensor | None = None,
        noise: TextNoise | None = None,
    ) -> tuple[Tensor, StackState]:
        """What the stack makes of the tokens, (batch, time, width), and the state after the last step, or after each row's
        first `lengths` (batch,) steps; before the steps in `resets` (batch, time) the state starts afresh."""
        vectors = self.word_dropout(tokens, self.embedding(tokens), noise and noise.words)
        outputs, state = self.stack(vectors, state, lengths, resets, noise and noise.stack)
        return outputs, state

    def read(self, tokens: Tensor, lengths: Tensor, noise: TextNoise | None = None) -> StackState:
        """The state after each row's first `lengths` tokens; (batch, time), (batch,)."""
        return self.outputs(tokens, lengths=lengths, noise=noise)[1]


class PrefixModel(nn.Module):
    """p(y_t | y_<t, x) by one language model: it reads x, closed by eos, as its prefix, and continues with y.

    An encoder-decoder whose two sides share all their weights, with nothing but the state in between.
    """

    def __init__(self, language_model: LanguageModel):
        super().__init__()
        self.language_model = language_model

    def forward(self, source: Tensor, source_lengths: Tensor, tokens: Tensor, chunk: int | None = None) -> Tensor:
        """Source (batch, source time), bos + target (batch, time) -> logits (batch, time, vocabulary); the gradient
        through the state is cut every `chunk` target steps."""
        logits: Tensor = self.output(self.features(source, source_lengths, tokens, chunk))
        return logits

    @property
    def output(self) -> nn.Linear:
        """The output layer."""
        return self.language_model.output

    def features(self, source: Tensor, source_lengths: Tensor, tokens: Tensor, chunk: int | None = None) -> Tensor:
        """What the output layer takes at each target step, (batch, time, width)."""
        model, noise = self.language_model, self.language_model.draw(len(source))
        state = model.read(source, source_lengths, noise)
        features: Tensor = model.dropout(in_chunks(partial(model.outputs, noise=noise), tokens, state, chunk))
        return features


class EncoderDecoder(nn.Module):
    """p(y_t | y_<t, x): an encoder and a decoder of their own (Sutskever et al. 2014, Cho et al. 2014)."""

    def __init__(self, encoder: Encoder, decoder: Decoder, output: nn.Linear, rates: Rates):
        super().__init__()
        self.encoder, self.decoder, self.output = encoder, decoder, output
        self.dropout = rates.dropout(rates.outputs)

    def forward(self, source: Tensor, source_lengths: Tensor, tokens: Tensor, chunk: int | None = None) -> Tensor:
        """Teacher forcing: source (batch, source time), bos + target (batch, time) -> logits (batch, time, vocabulary)."""
        logits: Tensor = self.output(self.features(source, source_lengths, tokens, chunk))
        return logits

    def features(
        self,
        source: Tensor,
        source_lengths: Tensor,
        tokens: Tensor,
        chunk: int | None = None,
        own: Tensor | None = None,
    ) -> Tensor:
        """What the output layer takes at each target step, (batch, time, width).

        The decoder's gradient through time is cut every `chunk` steps. Where `own` (batch, time) is true, a word drawn
        from the previous step's prediction replaces the target's (Bengio et al. 2015); no gradient goes through it.
        """
        state = self.start(source, source_lengths)
        if own is None:
            outputs = self.decoder.in_chunks(tokens, state, chunk)
        else:
            outputs = self._with_own_words(tokens, own, state, chunk)
        features: Tensor = self.dropout(outputs)
        return features

    def _with_own_words(self, tokens: Tensor, own: Tensor, state: DecoderState, chunk: int | None) -> Tensor:
        """Readouts (batch, time, width), step by step."""
        noise, readouts, words = self.decoder.draw(len(tokens)), [], tokens[:, :1]
        for time, given in enumerate(tokens.split(1, dim=1)):
            words = torch.where(own[:, time, None], words, given)
            cut = chunk is not None and time > 0 and time % chunk == 0
            readout, state = self.decoder(words, cut_off(state) if cut else state, noise)
            readouts.append(readout)
            with torch.no_grad():
                logits = self.output(readout[:, 0])
                logits[:, PAD : BOS + 1] = -torch.inf  # which no search produces either
                words = token_at(logits, torch.rand(len(logits), 1, device=logits.device))
        return torch.cat(readouts, dim=1)

    def start(self, source: Tensor, source_lengths: Tensor) -> DecoderState:
        """The decoder's state once the source is read."""
        return self.decoder.start(self.encoder(source, source_lengths))
