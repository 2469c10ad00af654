"""One step of one row of every cell, written out from the papers in plain numbers: no tensor arithmetic, no engine.

Each takes the cell (for its weights), x_t and the old state as lists, and gives the new state as lists.
"""

from collections.abc import Callable
from math import exp, log, sqrt
from typing import Any

from torch import Tensor

Vector = list[float]
State = dict[str, Vector]


def sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))


def tanh(value: float) -> float:
    return 2 * sigmoid(2 * value) - 1


def product(weight: Tensor, vector: Vector, bias: Tensor | None = None) -> Vector:
    shifts = [0.0] * len(weight) if bias is None else bias.tolist()
    rows = zip(weight.tolist(), shifts, strict=True)
    return [sum(w * v for w, v in zip(row, vector, strict=True)) + shift for row, shift in rows]


def plus(*vectors: Vector) -> Vector:
    return [sum(values) for values in zip(*vectors, strict=True)]


def times(one: Vector, other: Vector) -> Vector:
    return [a * b for a, b in zip(one, other, strict=True)]


def each(function: Callable[[float], float], vector: Vector) -> Vector:
    return [function(value) for value in vector]


def blend(share: Vector, one: Vector, other: Vector) -> Vector:
    return [s * a + (1 - s) * b for s, a, b in zip(share, one, other, strict=True)]


def blocks(vector: Vector, count: int) -> list[Vector]:
    size = len(vector) // count
    return [vector[place * size : (place + 1) * size] for place in range(count)]


def normal(vector: Vector) -> Vector:
    mean = sum(vector) / len(vector)
    variance = sum((value - mean) ** 2 for value in vector) / len(vector)
    return [(value - mean) / sqrt(variance + 1e-5) for value in vector]


def summed(cell: Any, x: Vector, h: Vector) -> Vector:
    """W x + b + R h + c."""
    return plus(product(cell.weight_input, x, cell.bias_input), product(cell.weight_hidden, h, cell.bias_hidden))


def rnn(cell: Any, x: Vector, old: State) -> State:
    return {"h": each(tanh, summed(cell, x, old["h"]))}


def relu_rnn(cell: Any, x: Vector, old: State) -> State:
    return {"h": each(lambda a: max(0.0, a), summed(cell, x, old["h"]))}


def remembered(i: Vector, f: Vector, g: Vector, o: Vector, old: Vector) -> State:
    c = plus(times(each(sigmoid, f), old), times(each(sigmoid, i), each(tanh, g)))
    return {"h": times(each(sigmoid, o), each(tanh, c)), "c": c}


def lstm(cell: Any, x: Vector, old: State) -> State:
    return remembered(*blocks(summed(cell, x, old["h"]), 4), old["c"])


def peephole_lstm(cell: Any, x: Vector, old: State) -> State:
    i, f, g, o = blocks(summed(cell, x, old["h"]), 4)
    i = plus(i, times(cell.peephole_i.tolist(), old["c"]))
    f = plus(f, times(cell.peephole_f.tolist(), old["c"]))
    c = remembered(i, f, g, o, old["c"])["c"]
    return remembered(i, f, g, plus(o, times(cell.peephole_o.tolist(), c)), old["c"])


def coupled_lstm(cell: Any, x: Vector, old: State) -> State:
    f, g, o = blocks(summed(cell, x, old["h"]), 3)
    c = blend(each(sigmoid, f), old["c"], each(tanh, g))
    return {"h": times(each(sigmoid, o), each(tanh, c)), "c": c}


def projected_lstm(cell: Any, x: Vector, old: State) -> State:
    after = remembered(*blocks(summed(cell, x, old["h"]), 4), old["c"])
    return {"h": product(cell.weight_projection, after["h"]), "c": after["c"]}


def layer_norm_lstm(cell: Any, x: Vector, old: State) -> State:
    of_x = times(cell.scale_input.tolist(), normal(product(cell.weight_input, x)))
    of_h = times(cell.scale_hidden.tolist(), normal(product(cell.weight_hidden, old["h"])))
    i, f, g, o = blocks(plus(of_x, cell.bias_input.tolist(), of_h), 4)
    c = remembered(i, f, g, o, old["c"])["c"]
    seen = plus(times(cell.scale_memory.tolist(), normal(c)), cell.bias_memory.tolist())
    return {"h": times(each(sigmoid, o), each(tanh, seen)), "c": c}


def multiplicative_lstm(cell: Any, x: Vector, old: State) -> State:
    units, of_x = cell.hidden, product(cell.weight_input, x, cell.bias_input)
    m = times(of_x[:units], product(cell.weight_hidden[:units], old["h"], cell.bias_hidden[:units]))
    of_m = product(cell.weight_hidden[units:], m, cell.bias_hidden[units:])
    return remembered(*blocks(plus(of_x[units:], of_m), 4), old["c"])


def slstm(cell: Any, x: Vector, old: State) -> State:
    """Without the stabiliser: c and n are those of the paper times exp(-m)."""
    size, of_x = cell.weight_hidden.shape[1], product(cell.weight_input, x, cell.bias_input)
    gates = []
    for gate in range(4):
        for unit in range(cell.hidden):
            row, head = gate * cell.hidden + unit, unit // size * size
            recurrent = cell.weight_hidden[row].tolist()
            mixed = sum(w * h for w, h in zip(recurrent, old["h"][head : head + size], strict=True))
            gates.append(of_x[row] + mixed + cell.bias_hidden[row].item())
    i, f, z, o = blocks(gates, 4)
    grown = each(exp, old["m"])  # 0 in a fresh state
    c = plus(times(each(sigmoid, f), times(grown, old["c"])), times(each(exp, i), each(tanh, z)))
    n = plus(times(each(sigmoid, f), times(grown, old["n"])), each(exp, i))
    kept = [log(sigmoid(a)) + m for a, m in zip(f, old["m"], strict=True)]
    m = [max(pair) for pair in zip(kept, i, strict=True)]
    shrink = [exp(-value) for value in m]
    h = [sigmoid(a) * top / bottom for a, top, bottom in zip(o, c, n, strict=True)]
    return {"h": h, "c": times(c, shrink), "n": times(n, shrink), "m": m}


def gru(cell: Any, x: Vector, old: State) -> State:
    of_x = blocks(product(cell.weight_input, x, cell.bias_input), 3)
    of_h = blocks(product(cell.weight_hidden, old["h"], cell.bias_hidden), 3)
    r, z = each(sigmoid, plus(of_x[0], of_h[0])), each(sigmoid, plus(of_x[1], of_h[1]))
    return {"h": blend(z, old["h"], each(tanh, plus(of_x[2], times(r, of_h[2]))))}


def cho_gru(cell: Any, x: Vector, old: State) -> State:
    units, of_x = cell.hidden, blocks(product(cell.weight_input, x, cell.bias_input), 3)
    of_h = blocks(product(cell.weight_hidden[: 2 * units], old["h"], cell.bias_hidden[: 2 * units]), 2)
    r, z = each(sigmoid, plus(of_x[0], of_h[0])), each(sigmoid, plus(of_x[1], of_h[1]))
    reset = product(cell.weight_hidden[2 * units :], times(r, old["h"]), cell.bias_hidden[2 * units :])
    return {"h": blend(z, old["h"], each(tanh, plus(of_x[2], reset)))}


def layer_norm_gru(cell: Any, x: Vector, old: State) -> State:
    def scaled(vector: Vector, scale: Tensor) -> list[Vector]:
        cut = len(vector) // 3 * 2
        return blocks(times(scale.tolist(), normal(vector[:cut]) + normal(vector[cut:])), 3)

    of_x, of_h = product(cell.weight_input, x), product(cell.weight_hidden, old["h"])
    x_r, x_z, x_n = scaled(of_x, cell.scale_input)
    h_r, h_z, h_n = scaled(of_h, cell.scale_hidden)
    b_r, b_z, b_n = blocks(cell.bias_input.tolist(), 3)
    r, z = each(sigmoid, plus(x_r, b_r, h_r)), each(sigmoid, plus(x_z, b_z, h_z))
    candidate = plus(x_n, b_n, times(r, plus(h_n, cell.bias_candidate.tolist())))
    return {"h": blend(z, old["h"], each(tanh, candidate))}


def minimal_gru(cell: Any, x: Vector, old: State) -> State:
    units, of_x = cell.hidden, blocks(product(cell.weight_input, x, cell.bias_input), 2)
    f = each(sigmoid, plus(of_x[0], product(cell.weight_hidden[:units], old["h"], cell.bias_hidden[:units])))
    reset = product(cell.weight_hidden[units:], times(f, old["h"]), cell.bias_hidden[units:])
    return {"h": blend(f, each(tanh, plus(of_x[1], reset)), old["h"])}


def highway(cell: Any, x: Vector, old: State) -> State:
    s, of_x, size = old["h"], product(cell.weight_input, x, cell.bias_input), 2 * cell.hidden
    for start in range(0, len(cell.weight_hidden), size):
        layer = slice(start, start + size)
        summed = product(cell.weight_hidden[layer], s, cell.bias_hidden[layer])
        n, t = blocks(summed if start else plus(summed, of_x), 2)
        s = blend(each(sigmoid, t), each(tanh, n), s)
    return {"h": s}


def indrnn(cell: Any, x: Vector, old: State) -> State:
    of_x = product(cell.weight_input, x, cell.bias_input)
    return {"h": each(lambda a: max(0.0, a), plus(of_x, times(cell.recurrent.tolist(), old["h"])))}


def scrn(cell: Any, x: Vector, old: State) -> State:
    units, of_x = cell.hidden, product(cell.weight_input, x, cell.bias_input)
    slow = [0.05 * a + 0.95 * s for a, s in zip(of_x[units:], old["h"][units:], strict=True)]
    fast = each(sigmoid, plus(of_x[:units], product(cell.weight_hidden, old["h"][:units] + slow)))
    return {"h": fast + slow}


EQUATIONS: dict[str, Callable[[Any, Vector, State], State]] = {
    equation.__name__: equation
    for equation in (
        rnn, relu_rnn, lstm, peephole_lstm, coupled_lstm, projected_lstm, layer_norm_lstm, multiplicative_lstm, slstm,
        gru, cho_gru, layer_norm_gru, minimal_gru, highway, indrnn, scrn,
    )
}  # fmt: skip
