"""A model made ready for many single steps with its current weights: matrices are packed once, in a lower precision if
asked; the first layer's input product of every word is kept; the readout's product with the source is computed once;
and steps are taken without an engine around them. States, sums over the source and logits stay in float32."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from throughtime.nn.attention import MultiheadAttention
from throughtime.nn.cells import Cell, Lstm
from throughtime.nn.cells.base import CellState, one_step
from throughtime.nn.copies import Model, evaluating, exchange
from throughtime.nn.decoder import Decoder
from throughtime.nn.models import LanguageModel
from throughtime.nn.precision import Precision, product
from throughtime.nn.readout import Readout
from throughtime.nn.stack import Layer

LARGEST_TABLE = 1 << 25  # numbers in the table of all words' products


def ready(model: Model, precision: Precision) -> Model:
    """A copy of a model that takes single steps as the model does, with the parameters as they are now."""
    found = evaluating(model)
    for part in list(found.modules()):
        if isinstance(part, Decoder):
            _read_out_the_source(part, precision)
    exchange(found, lambda part: _made_ready(part, precision))
    for part in found.modules():
        if isinstance(part, LanguageModel | Decoder):
            _keep_products(part)
    return found


def _made_ready(part: nn.Module, precision: Precision) -> nn.Module:
    if isinstance(part, nn.Linear):
        return ReadyLinear(part.weight, part.bias, precision)
    return ReadyLayer(part, precision) if isinstance(part, Layer) and steps_alone(part) else part


def _keep_products(part: LanguageModel | Decoder) -> None:
    """Looks up the first layer's product with a word, where it reads nothing else and nothing else reads the word."""
    first, words = part.stack.layers[0], part.embedding
    if not isinstance(first, ReadyLayer) or first.cell.features != words.embedding_dim:
        return
    read_again = isinstance(part, Decoder) and part.form.reads_words
    if read_again or part.stack.residual[0]:
        return
    if words.num_embeddings * first.cell.projected <= LARGEST_TABLE:
        with torch.no_grad():
            part.embedding = nn.Embedding.from_pretrained(first.cell.project(words.weight))
        first.project = lambda gates: gates


def _read_out_the_source(decoder: Decoder, precision: Precision) -> None:
    """Where only the readout sees the context c, and c is a sum of the source's values v, attention gets the values
    already multiplied by the readout's weight: W_c c = W_c sum_s a_s v_s = sum_s a_s (W_c v_s)."""
    attention, readout = decoder.attention, decoder.readout
    if attention is None or decoder.form.query_before or isinstance(attention, MultiheadAttention):
        return
    decoder.readout = made_ready = ReadyReadout(readout, decoder.stack.width, attention.width, precision)
    attention.value = nn.Sequential(attention.value, ReadyLinear(made_ready.of_context, None, "float32"))


class ReadyReadout(Readout):
    """A readout that is given its product with the context ready-made: h, W_c c, y."""

    def __init__(self, readout: Readout, hidden: int, context: int, precision: Precision):
        nn.Module.__init__(self)
        self.pieces, self.width = readout.pieces, readout.width
        linear = cast(nn.Linear, readout.linear)
        of_stack, self.of_context, of_words = linear.weight.detach().tensor_split([hidden, hidden + context], dim=1)
        self.rest = ReadyLinear(torch.cat([of_stack, of_words], dim=1), linear.bias, precision)

    def forward(self, *parts: Tensor) -> Tensor:
        h, context, *words = parts
        return self.shaped(self.rest(torch.cat([h, *words], dim=-1)) + context)


class ReadyLinear(nn.Module):
    """(..., in) -> (..., out)."""

    def __init__(self, weight: Tensor, bias: Tensor | None, precision: Precision):
        super().__init__()
        self._product = product(weight, bias, precision)

    def forward(self, inputs: Tensor) -> Tensor:
        return self._product(inputs.flatten(0, -2)).unflatten(0, inputs.shape[:-1])


def steps_alone(layer: Layer) -> bool:
    """Whether a layer has one direction only, and its cell's input product is the usual one."""
    return len(layer.cells) == 1 and type(cast(Cell, layer.cells[0]).active).project is Cell.project


class ReadyLayer(nn.Module):
    """A layer that takes single steps without an engine; anything else is left to the original layer."""

    def __init__(self, layer: Layer, precision: Precision):
        super().__init__()
        self._layer, self.cells, self.width = layer, layer.cells, layer.width
        self.cell = cell = cast(Cell, layer.cells[0]).active
        self.project = product(cell.weight_input, cell.bias_input, precision)
        self._products = [product(matrix, bias, precision) if len(matrix) else None for matrix, bias in cell.matrices()]
        self._stages = [
            stage._replace(function=lstm_step) if stage.function is Lstm.step else stage for stage in cell.stages()
        ]

    def forward(
        self,
        inputs: Tensor,
        state: Sequence[CellState | None],
        lengths: Tensor | None,
        resets: Tensor | None,
        noise: Sequence[None],
    ) -> tuple[Tensor, tuple[CellState, ...]]:
        if inputs.shape[1] > 1 or lengths is not None or resets is not None or state[0] is None:
            return self._layer(inputs, state, lengths, resets, noise)
        cell = self.cell
        gates = self.project(inputs[:, 0])
        carried = one_step(self._stages, self._products, gates, state[0], cell.vector_values())
        fresh = {name: carried[name] for name in cell.states}
        return fresh[cell.states[0]][:, None], (fresh,)


def lstm_step(input_gates: Tensor, recurrent_gates: Tensor, state: CellState) -> CellState:
    """`Lstm.step` in half its time on a CPU, where sigmoid is several times as fast as tanh: one sigmoid for all gates,
    and tanh(x) = 2 sigmoid(2 x) - 1."""
    gates = input_gates + recurrent_gates
    i, f, g, o = gates.chunk(4, dim=-1)
    g.mul_(2)
    gates.sigmoid_()
    c = (f * state["c"] - i).addcmul_(i, g, value=2)
    return {"h": (2 * c).sigmoid_().mul_(2).sub_(1).mul_(o), "c": c}
