"""The cell of docs/own-cell.md, in a file outside the package: trained by each engine, swept, probed and decoded."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import FEW_NUMBERS, ROOT, TINY
from torch import Tensor

from throughtime import compose, config
from throughtime.build.cells import cell_maker
from throughtime.nn import recurrence
from throughtime.nn.cells import Cell
from throughtime.nn.cells.base import CellState
from throughtime.nn.cells.lstm import PeepholeLstm
from throughtime.nn.cells.own import own_cell
from throughtime.nn.engines import compiling
from throughtime.run import decoding


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """The page's Python block as a file."""
    code = (ROOT / "docs" / "own-cell.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert len([line for line in code.splitlines() if line]) <= 10
    path = tmp_path / "my_cells.py"
    path.write_text(code)
    return path


def decode(folder: Path, *overrides: str) -> list[dict]:
    (folder / "in.txt").write_text("forty-two\n")
    files = [f"checkpoint={folder}", f"input={folder}/in.txt", f"output={folder}/out.jsonl"]
    decoding.decode(config.check(compose.composed("decode", [*files, *overrides]), config.DecodeConfig))
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_every_engine_runs_it(cell: Path) -> None:
    torch.manual_seed(0)
    built, inputs = own_cell(f"{cell}:Minimal")(5, 4), torch.randn(3, 7, 5)
    results = []
    for engine in ("loop", "fused", "auto"):
        outputs, _ = recurrence.run(built, inputs, lengths=torch.tensor([7, 2, 5]), engine=engine)
        results.append([outputs, *torch.autograd.grad(outputs.cos().sum(), list(built.parameters()))])
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(results[2], results[0])


def test_it_is_swept_probed_and_decoded(program: Callable, cell: Path) -> None:
    own = ["cell=own", f"cell.path={cell.name}:Minimal", "model.depth=1,2", "hydra.sweep.dir=sweep"]
    done = program("train.py", "-m", *TINY, "flow.rows=1", *FEW_NUMBERS, *own)
    assert done.returncode == 0, done.stderr
    assert f"allow_code={cell.name}" in done.stdout
    jobs = json.loads((cell.parent / "sweep" / "sweep.json").read_text())["jobs"]
    assert [job["state"] for job in jobs] == ["done", "done"]
    with (cell.parent / "sweep" / "1" / "metrics.csv").open() as file:
        norms = [row["gradients/encoder.reader.stack.layers.1"] for row in csv.DictReader(file)]
    assert any(float(norm) > 0 for norm in norms if norm)
    lines = (cell.parent / "sweep" / "1" / "gradient_flow.jsonl").read_text().splitlines()
    flows = {(line["layer"], line["state"]): line["norms"] for line in map(json.loads, lines)}
    assert len(flows) == 2 * 2 + 2 and all(norms[-1] > 0 for norms in flows.values())
    assert (cell.parent / "sweep" / "gradient_flow.png").exists()
    (result,) = decode(cell.parent / "sweep" / "0", f"allow_code={cell}")
    assert result["source"] == "forty-two"


def test_a_checkpoint_runs_no_code_unless_allowed(train: Callable[..., Path], cell: Path, tmp_path: Path) -> None:
    folder = train(*FEW_NUMBERS, "cell=own", f"cell.path={cell}:Minimal")
    traitor = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    cell.write_text(traitor + cell.read_text())
    with pytest.raises(config.Mistake, match=r"allow_code=null: allowed is .*my_cells\.py, if you trust it"):
        decode(folder)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(config.Mistake, match=r"allow_code=gone\.py:Minimal: allowed is a file that is there"):
        decode(folder, "allow_code=gone.py")
    assert decode(folder, f"allow_code={cell}")
    assert (tmp_path / "ran").exists()


MISTAKES = {
    "none.py:Minimal": "a file that is there, and {}/none.py is not",
    "no_such_module:Minimal": "a module that Python finds, and no_such_module is none",
    "my_cells.py:Minimum": "a class that {}/my_cells.py has; did you mean Minimal?",
    "wrong.py:Plain": "a class derived from throughtime.nn.cells.Cell",
    "wrong.py:Stateless": "a cell with `states`, the names of its state tensors, the output first",
    "wrong.py:Gateless": "a cell with `gates`, how many gates it has",
    "wrong.py:Stepless": "a cell with a `step`, or `stages` of its own",
    "wrong.py:Spelled": "a cell with `states` and `vectors` as tuples, such as ('h',), not as texts",
    "ending.py:Minimal": "code that runs, and this ends with SystemExit: 3",
    "broken.py:Minimal": "code that runs, and this ends with ZeroDivisionError: division by zero",
    "garbled.py:Minimal": "code that runs, and this ends with SyntaxError",
}


@pytest.mark.parametrize(("path", "sentence"), MISTAKES.items())
def test_what_is_no_cell_is_told(path: str, sentence: str, cell: Path) -> None:
    folder = cell.parent
    (folder / "broken.py").write_text("1 / 0")
    (folder / "ending.py").write_text("import sys\nsys.exit(3)")
    (folder / "garbled.py").write_text("class Minimal(")
    (folder / "wrong.py").write_text(
        "from throughtime.nn.cells import Cell\nclass Plain: pass\nclass Stateless(Cell): gates = 1\n"
        "class Gateless(Cell): states = ('h',)\nclass Stepless(Cell): states, gates = ('h',), 1\n"
        "class Spelled(Cell): states, gates = 'hidden', 1\n"
    )
    given = f"{folder}/{path}" if path.partition(":")[0].endswith(".py") else path
    with pytest.raises(config.Mistake) as told:
        own_cell(given)
    assert str(told.value).startswith(f"cell.path={given}: allowed is {sentence.replace('{}', str(folder))}")
    assert "\n" not in str(told.value)


FAILING = {
    "return {}": "a cell whose step returns each of its states, and h is missing",
    "return {'h': state['h'][:, :1]}": "a cell whose step returns h with 8 values a row, as torch.float32, and for 2 rows",
    "return {'h': state['h'].double()}": "a cell whose step returns h with 8 values a row, as torch.float32, and for 2 rows",
    "return {'h': state['c']}": "code that runs, and this ends with KeyError: 'c'",
    "return {'h': a.chunk(2, dim=-1)[0] + state['h'][:, :3]}": "code that runs, and this ends with RuntimeError: The size",
    "return {'h': a[:, :8]}\n    vectors = ('weight_input',)": "a cell whose vectors have one dimension each",
    "return {'h': a[:, :8]}\n    def project(self, inputs): return inputs": "a cell whose project gives 16 values a row",
    "return [state['h']]": "a cell whose step returns a dict of its states, not list",
    "return {'h': state['h'] / 0}": "a cell whose step returns numbers, and h is NaN for an input of ones",
    "a += b; return {'h': a[:, :8]}": "code that runs, and this ends with RuntimeError: Output 0 of Unbind",
    "return {'h': a[:, :8]}\n    def __init__(self): pass": "code that runs, and this ends with TypeError",
}


def test_a_step_that_depends_on_values_is_not_compiled() -> None:
    class Undecided(Cell):
        states, gates = ("h",), 1

        @staticmethod
        def step(input_gates: Tensor, product: Tensor, state: CellState) -> CellState:
            return {"h": input_gates if state["h"].mean() > 0 else product}

    cell, inputs = Undecided(3, 4), torch.randn(2, 5, 3)
    assert recurrence.run(cell, inputs, engine="loop")[0].shape == (2, 5, 4)
    with pytest.raises(
        config.Mistake, match="engine=fused: allowed is loop for Undecided, whose step can't be compiled"
    ):
        recurrence.run(cell, inputs, engine="fused")


@pytest.mark.parametrize("lengths", [None, torch.tensor([5, 3])])
def test_states_may_have_any_names(lengths: Tensor | None) -> None:
    """Those that the compiled engine has for tensors of its own as well."""

    class Crowded(Cell):
        states, gates = ("output", "product", "gates"), 3

        @staticmethod
        def step(input_gates: Tensor, product: Tensor, state: CellState) -> CellState:
            first, second, third = torch.tanh(input_gates + product).chunk(3, dim=-1)
            return {
                "output": first * state["gates"] + second,
                "product": state["product"] * second - first,
                "gates": third + state["product"],
            }

    cell, inputs = Crowded(3, 4).double(), torch.randn(2, 5, 3, dtype=torch.float64)
    found = {}
    for engine in ("loop", "fused"):
        given = inputs.clone().requires_grad_()
        outputs, state = recurrence.run(cell, given, lengths=lengths, engine=engine)
        total = (outputs**2).sum() + sum((part**2).sum() for part in state.values())
        found[engine] = torch.autograd.grad(total, [given, *cell.parameters()])
    torch.testing.assert_close(found["fused"], found["loop"])


def test_a_derivative_may_need_nothing_but_what_all_steps_share() -> None:
    class Leaning(Cell):
        states, gates, vectors = ("h",), 1, ("gain", "direction")

        def __init__(self) -> None:
            super().__init__(3, 4)
            self.gain, self.direction = (torch.nn.Parameter(torch.randn(4)) for _ in self.vectors)

        @staticmethod
        def step(input_gates: Tensor, product: Tensor, state: CellState, gain: Tensor, direction: Tensor) -> CellState:
            return {"h": input_gates + product + gain * direction}

    cell, inputs = Leaning(), torch.randn(2, 5, 3)
    outputs = [recurrence.run(cell, inputs, engine=engine)[0] for engine in ("loop", "fused")]
    gradients = [torch.autograd.grad(found.cos().sum(), list(cell.parameters())) for found in outputs]
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_step_with_a_tensor_of_its_own_is_not_compiled() -> None:
    """Or the kernel would keep the value of now, and no gradient would come to it."""

    class Scaled(Cell):
        states, gates = ("h",), 1

        def __init__(self) -> None:
            super().__init__(3, 4)
            self.scale = torch.nn.Parameter(torch.ones(4))

        def step(self, input_gates: Tensor, product: Tensor, state: CellState) -> CellState:  # type: ignore[override]
            return {"h": torch.tanh(input_gates + product * self.scale)}

    for learning in (True, False):
        with (
            torch.set_grad_enabled(learning),
            pytest.raises(config.Mistake, match="loop for Scaled, .* none of the `vectors`"),
        ):
            recurrence.run(Scaled(), torch.randn(2, 5, 3), engine="fused")


def test_a_compiler_that_fails_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("the disk is full\nand more")

    monkeypatch.setattr(compiling, "compiled", failing)
    cell, inputs = PeepholeLstm(3, 64), torch.randn(16, 32, 3)
    with pytest.raises(config.Mistake, match="loop for PeepholeLstm, whose step can't be compiled: the disk is full"):
        recurrence.run(cell, inputs, engine="fused")
    assert not capsys.readouterr().err
    outputs = [recurrence.run(cell, inputs, engine=engine)[0] for engine in ("auto", "loop", "auto")]
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
    assert capsys.readouterr().err.count("the disk is full") == 1


@pytest.mark.parametrize(("body", "sentence"), FAILING.items())
def test_a_step_is_tried(body: str, sentence: str, cell: Path) -> None:
    cell.write_text(
        "from throughtime.nn.cells import Cell\nclass Minimal(Cell):\n    states, gates = ('h',), 2\n"
        f"    @staticmethod\n    def step(a, b, state, *vectors):\n        {body}\n"
    )
    with pytest.raises(config.Mistake) as told:
        cell_maker(config.OwnCell("own", f"{cell}:Minimal"))(5, 8)
    assert str(told.value).startswith(f"cell.path={cell}:Minimal: allowed is {sentence}")
    assert "\n" not in str(told.value)
