"""The layers of docs/architecture.md: each imports only from those above it."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "throughtime"
LAYERS = [
    ["config.mistakes", "config.ranges"],
    ["config.data", "config.model", "config.search", "config.measuring", "config.check"],
    ["config.training"],
    ["config.train_config", "config.decode_config"],
    ["config.idle"],
    ["config", "whole", "memory", "terminal", "signals", "attention_grid"],
    ["data.paths", "data.splits"],
    [
        "data.tokenizer",
        "data.text_files",
        "data.pair_files",
        "data.numbers",
        "data.stories",
        "data.stdlib",
        "data.hub",
        "nn.state",
    ],
    [
        "data.corpus",
        "data.batch",
        "data.lexicon",
        "data.cuts",
        "data.position",
        "search.score",
        "train.ranks",
        "nn.products",
        "nn.token_draw",
        "nn.convolution",
    ],
    ["nn.cells", "nn.dropout", "nn.attention", "nn.precision"],
    ["nn.engines.masks", "nn.engines.compiling", "nn.engines.once"],
    ["nn.engines.deriving", "nn.engines.replay", "nn.engines.parallel", "nn.engines.versions"],
    ["nn.engines.loop", "nn.engines.native", "nn.engines.stage", "nn.engines.scan", "nn.engines.chunkwise"],
    ["nn.engines.routes"],
    ["nn.engines.step"],
    ["nn.engines.fused"],
    ["nn.recurrence"],
    ["nn.stack"],
    ["nn.encoder", "nn.bridge", "nn.readout"],
    ["nn.decoder"],
    ["nn.copies"],
    ["nn.models"],
    ["nn.ready", "nn.watched"],
    ["search.stepper"],
    ["search.combined", "search.extensions", "search.finished", "search.forced", "search.risk", "search.rules"],
    ["search.diverse", "search.constrained", "search.shortlist"],
    ["search.sample", "search.beam", "search.stochastic"],
    ["search.searching"],
    ["search"],
    [
        "data.stream",
        "data.pairs",
        "train.teacher",
        "train.loss",
        "train.optim",
        "train.accumulation",
        "train.course",
        "train.quality",
        "train.evaluation",
    ],
    ["train.output_loss", "train.awd_penalty", "train.flow"],
    ["train.flow_picture"],
    ["data.prepare", "train.through_time"],
    ["data.datamodule", "train.task", "train.checkpoint", "train.checkpoint_files", "train.checkpoint_mean"],
    ["train.text_task", "train.pair_task", "train.inherited"],
    [
        "callbacks.tracking",
        "callbacks.gradients",
        "callbacks.progress",
        "callbacks.ending",
        "callbacks.averaging",
        "callbacks.interruption",
        "callbacks.interval",
        "callbacks.keeping",
        "callbacks.patience",
    ],
    ["callbacks.decoding", "callbacks.flow", "callbacks.alignment"],
    ["build.devices", "build.cells", "build.dropout"],
    ["build.models"],
    ["build.decodable", "build.parts"],
    ["build"],
    ["run.record", "run.parent"],
    ["run.launch", "run.ranking", "run.history", "run.hold"],
    ["run.sweep"],
    ["run.report", "run.continuing"],
    ["run.decode.sources", "run.decode.lexical"],
    ["run.decode.reading", "run.decode.loading"],
    ["run.decode.questions", "run.decode.answers", "run.decode.alignment"],
    ["run.decode.searcher", "run.decode.scorer", "run.decode.output", "run.decode.scores"],
    ["run.decode.conversation"],
    ["run.decode.workers"],
    ["run.decoding", "run.training"],
    ["run.worker", "run.sweep_job"],
    ["compose.ending", "compose.command_line"],
    ["compose.composing"],
    ["compose.preflight"],
    ["compose.resuming"],
    ["compose"],
]
ONLY = {
    "lightning": ("data.datamodule", "train.", "callbacks.", "build.parts"),
    "hydra": ("compose", "run.sweep"),
    "omegaconf": ("compose",),
    "wandb": ("callbacks.tracking",),
}


def layer_of(module: str) -> int:
    """The first layer whose name the module has, or lies under."""
    names = {name: place for place, names in enumerate(LAYERS) for name in names}
    while module and module not in names:
        module = module.rpartition(".")[0]
    return names.get(module, -1)


def imports(path: Path) -> set[str]:
    """All modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if layer_of(module_of(path)) >= 0]


def test_every_module_has_a_layer() -> None:
    packages = {"__init__", "data", "nn", "nn.engines", "train", "callbacks", "run", "run.decode"}
    assert {module_of(path) for path in PACKAGE.rglob("*.py")} - {module_of(path) for path in FILES} <= packages


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_only_from_above(path: Path) -> None:
    module = module_of(path)
    ours = {name.removeprefix("throughtime.") for name in imports(path) if name.startswith("throughtime.")}
    for other in ours:
        below = layer_of(other) > layer_of(module)
        beside = layer_of(other) == layer_of(module) and not module.startswith("nn.cells")
        assert not (below or (beside and layer_of(other) >= 0)), f"{module} imports {other}"


@pytest.mark.parametrize("library", ONLY)
def test_libraries_stay_where_they_belong(library: str) -> None:
    users = {
        module_of(path) for path in PACKAGE.rglob("*.py") if library in {name.split(".")[0] for name in imports(path)}
    }
    assert users
    assert all(user.startswith(ONLY[library]) for user in users)


def test_the_schema_needs_no_library() -> None:
    standard = ("math", "types", "collections.abc", "dataclasses", "difflib", "typing", "throughtime.config")
    files = list((PACKAGE / "config").glob("*.py"))
    assert files
    assert all(name.startswith(standard) for path in files for name in imports(path))
