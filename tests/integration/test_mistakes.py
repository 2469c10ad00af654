"""Contract 7: whatever a user gets wrong is told in one sentence, with exit code 2 and no traceback."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import yaml
from tests.conftest import FEW_NUMBERS, OF_TEXT, TINY, settings

from throughtime import build, compose, config
from throughtime.compose.preflight import preflight
from throughtime.run import decoding, training
from throughtime.run.record import Record

# command line -> what the sentence must name; {} is the test's folder
TRAIN = {
    "model.dpeth=2": "model.dpeth is no setting; did you mean model.depth?",
    "modle=language_model": "modle is no setting; did you mean model?",
    "cell=lsmt": "; did you mean lstm?",
    "cell=own": "cell.path=null: allowed is a file or module and the class in it",
    "cell=own cell.path=my_cells.py": "cell.path=my_cells.py: allowed is a file or module and the class in it",
    "cell=own cell.path={}/none.py:Mine": "none.py:Mine: allowed is a file that is there",
    "cell=slstm cell.heads=3": "cell.heads=3: allowed is a divisor of model.hidden=8",
    "cell=slstm cell.heads=8 encoder.hidden=4": "cell.heads=8: allowed is a divisor of encoder.hidden=4",
    "cell@encoder.cell=mlstm encoder.cell.heads=3": "encoder.cell.heads=3: allowed is a divisor of model.hidden=8",
    "cell=projected_lstm model.hidden=1": "model.hidden=1: allowed is a number of at least 2 with cell=projected_lstm",
    "search=greedy search.contains=[a]": "search.contains is a setting of search=beam or diverse alone.",
    "search@sampling=greedy": "sampling=greedy: allowed is sample.",
    "hydra.job.chdir=true": "hydra.job.chdir=true: allowed is false, as paths are those of where the program is started",
    "cell=projected_lstm cell.projection=8": "cell.projection=8: allowed is a number of at least 1 and below model.hidden=8",
    "cell.chrono=2": "cell.chrono=2: allowed is a number above 2 and at most 1000000000",
    "cell.recurrent=zeros": "cell.recurrent=zeros: allowed is orthogonal, uniform or identity",
    "context=initial_state model.tied=true": "model.tied=true: allowed is only with model.embedding=4 equal to the last",
    "model.residual=true": "model.residual=true: allowed is false where no recurrent layer is as wide as what it reads",
    "model.residual=true model.embedding=8 context=every_step": "model.residual=true: allowed is false where no recurrent",
    "model.residual=true model.embedding=8 data=stdlib_docs cell=scrn": "model.residual=true: allowed is false where no",
    "model.merge=mean": "model.merge=mean: allowed is concat or sum",
    "cell@encoder.cell=mlstm model.learned_state=true": "model.learned_state=true: allowed is false where a cell=mlstm reads",
    "encoder=convolutional model.learned_state=true": "model.learned_state=true: allowed is false with encoder=convolutional",
    "batch.documents=reset": "batch.documents=reset: allowed is carry with model=encoder_decoder, whose pairs begin afresh",
    "context=initial_state search.coverage=0.2": "search.coverage=0.2: allowed is 0 with a model without attention",
    "search.stop=proven search.finished=5": "search.finished=5: allowed is null with search.stop=proven",
    "trainer.minutes=1e13": "trainer.minutes=1e+13: allowed is a number above 0 and at most 10000000",
    "tbptt=windows": "tbptt=windows: allowed is off or fixed with model=encoder_decoder, whose sentences are short",
    "data=stdlib_docs tbptt=windows tbptt.stride=9 tbptt.window=8": "tbptt.window=8: allowed is a number of at least tb",
    "data=stdlib_docs tbptt=jittered tbptt.chunk=4": "tbptt.chunk=4: allowed is a number of at least 5",
    "context=dot": "context=dot: allowed is general, or an encoder as wide as the decoder (16 and 8), by encoder.hidden",
    "data=stdlib_docs loss.label_smoothing=0.1": "loss.label_smoothing=0.1: allowed is 0 with model=language_model",
    "data=stdlib_docs teacher=linear": "teacher=linear: allowed is forcing with model=language_model",
    "cell=rnn dropout=recurrent": "dropout=recurrent: allowed is another one with cell=rnn",
    "cell=mlstm context=general dropout=zoneout": "dropout=zoneout: allowed is another one with cell=mlstm",
    "model.bridge=copy": "model.bridge=copy: allowed is linear, or an encoder with 8 for the decoder's h and not 16, by",
    "cell=scrn model.bridge=copy encoder.hidden=4": "model.bridge=copy: allowed is linear, or an encoder with",
    "cell=mingru dropout=variational": "dropout.state=0.3: allowed is 0 with cell=mingru, whose step multiplies no state",
    "cell=indrnn data=stdlib_docs dropout=awd": "dropout.weights=0.5: allowed is 0 with cell=indrnn, which has no rec",
    "dropout=awd": "dropout.activation=2: allowed is 0 with model=encoder_decoder, as that penalty is a language model's",
    "engine=native dropout=zoneout": "engine=native: allowed is auto, loop or fused with dropout=zoneout, which works wit",
    "data=stdlib_docs engine=native batch.documents=reset": "engine=native: allowed is auto, loop or fused with batch.doc",
    "model.shared_embedding=true": "model.shared_embedding=true: allowed is only with tokenizer.joint=true",
    "context=multihead context.heads=3": "context.heads=3: allowed is a divisor of the decoder's width, 8",
    "cell@encoder.cell=own": "encoder.cell=own: allowed is rnn, lstm",
    "tbptt=jitered": "; did you mean jittered?",
    "trainer.accumulate=0": "trainer.accumulate=0: allowed is a number of at least 1",
    "batch.documents=cut": "batch.documents=cut: allowed is carry or reset",
    "data=tex": "data=tex: allowed is hf, number_words, pairs, stdlib_docs, stdlib_functions, stdlib_summaries,"
    " stdlib_topics, stories, text; did you mean text?",
    "model.depth=0": "model.depth=0: allowed is a number of at least 1",
    "model.depth=two": "model.depth=two: allowed is a whole number",
    "model.depth=1.5": "model.depth=1.5: allowed is a whole number",
    "model.bidirectional=maybe": "model.bidirectional=maybe: allowed is true or false",
    "optim.lr=-1": "optim.lr=-1: allowed is a number above 0",
    "optim.lr=nan": "optim.lr=nan: allowed is a number above 0",
    "dropout=zaremba dropout.rate=1": "dropout.rate=1: allowed is a number of at least 0 and at most 0.95",
    "engine=scan cell=lstm": "engine=scan: allowed is auto, loop, native or fused with cell=lstm",
    "engine=native cell=lstm cell@encoder.cell=slstm": "engine=native: allowed is auto, loop or fused with cell=slstm",
    "model.bridge=zero context=initial_state": "model.bridge=zero: allowed is linear or copy with context=initial_state",
    "engine=fast": "engine=fast: allowed is auto, loop, native, fused or scan",
    "model=language_model data=stdlib_docs model.hidden=[8,8]": "model.hidden=[8, 8]: allowed is one width, or one for each",
    "evaluation=cache": "evaluation=cache: allowed is static with model=encoder_decoder",
    "averaging=ema averaging.decay=1": "averaging.decay=1: allowed is a number of at least 0 and at most 0.999999",
    "dropout=awd dropout.weights=2": "dropout.weights=2: allowed is a number of at least 0 and at most 0.95",
    "schedule=decay schedule.hold=0": "schedule.hold=0: allowed is a number of at least 1",
    "batch.restarts=1.5": "batch.restarts=1.5: allowed is a number of at least 0 and at most 1",
    "tbptt.chunk=null": "tbptt.chunk=null: allowed is a whole number",
    "trainer.precision=16-mixed trainer.accelerator=cpu": "trainer.precision=16-mixed: allowed is auto, 32-true",
    "experiment=multi30k data=number_words dropout=none dropout.rate=0.3": "dropout.rate is a setting of dropout=recurr",
    "cell.name=[lstm]": "; did you mean lstm?",
    "trainer.precision=fp8": "trainer.precision=fp8: allowed is auto, 32-true, bf16-mixed, 16-mixed or 64-true",
    "cell=lstm,gru": "cell=lstm,gru lists several values: allowed with -m",
    "-m --cfg job cell=lstm,gru": "--cfg shows one job: allowed is it without -m.",
    "--shell-completion": "--shell-completion goes with install=bash or uninstall=bash: allowed are bash, zsh, fish.",
    "temperature=0.5": "temperature is no setting; did you mean sampling.temperature or search.temperature?",
    "lr=0.1": "lr is no setting; did you mean optim.lr or evaluation.lr?",
    "-m cell=lstm,gru hydra.sweep.subdir=../${cell.name}": "hydra.sweep.subdir=../lstm: allowed is a folder below hydra",
    "-m cell=lstm,gru hydra.sweep.subdir=x": "hydra.sweep.subdir=x: allowed is a folder for each job, and this one is",
    "data=text data.path=a=b": "data.path=a=b can't be read",
    "search.n_best=9": "search.n_best=9: allowed is at most search.size=5",
    "search.groups=2": "search.groups=2: allowed is a divisor of search.size=5",
    "search=diverse search.contains=[a]": "search.groups=3: allowed is 1 where search.contains lists texts",
    "search.min_length=300": "search.min_length=300: allowed is at most search.max_length=12",
    "search=diverse search.finished=1": "search.finished=1: allowed is at least search.n_best=3",
    "search=stochastic_beam search.size=0": "search.size=0: allowed is a number of at least 1",
    "search=minimum_bayes_risk search.utility=ter": "search.utility=ter: allowed is chrf or bleu",
    "model=language_model": "model=language_model: allowed is encoder_decoder or prefix_lm with data=number_words",
    "model=prefix_lm": "tokenizer.joint=false: allowed is true with model=prefix_lm, which has one vocabulary",
    "model=prefix_lm tokenizer=byte evaluation=cache": "evaluation=cache: allowed is static with model=prefix_lm",
    "data=stdlib_docs model=encoder_decoder": "model=encoder_decoder: allowed is language_model",
    "data=stdlib_docs model.bidirectional=true": "model.bidirectional=true: allowed is false",
    "data.largest=10": "data.largest=10: allowed is large enough",
    "data.target_language=en": "data.target_language=en: allowed is a language other",
    "data.target_language=klingon": "data.target_language=klingon: allowed is one of",
    "data=text": "data.path=null: allowed is a file or a glob",
    "data=text data.path={}/none.txt": "none.txt: allowed is a file that is there",
    "data=text data.path={}": "allowed is a file, not a folder",
    "data=text data.path={}/empty.txt": "empty.txt: allowed is a file that is not empty",
    "data=text data.path={}/latin.txt": "latin.txt: allowed is a UTF-8 text, and this one holds the byte 0xe9",
    "data=text data.path={}/tiny.txt": "allowed is",
    "data=pairs": "data.path=null: allowed is one table file",
    "data=pairs data.path={}/bad.tsv": "bad.tsv: allowed is a table with the columns 0 and 1 in each line; line 2 is not",
    "data=pairs data.path={}/bad.jsonl": "bad.jsonl: allowed is JSON objects",
    "data=pairs data.path={}/table.xls": "table.xls: allowed is a file that ends in",
    "data=pairs data.source_path={}/two.txt data.target_path={}/three.txt": "three.txt: allowed is a file of 2 lines",
    "data=pairs data.source_path={}/two.txt": "allowed is set together with data.target_path",
    "data=pairs data.path={}/forty.tsv data.validation_path={}/forty.tsv data.validation_source_path={}/two.txt "
    "data.validation_target_path={}/two.txt": "forty.tsv: allowed is one table file, or null with data.validation_source",
    "data=pairs data.path={}/half.jsonl": "half.jsonl: allowed is JSON objects",
    "data=pairs data.path={}/deep.jsonl": "deep.jsonl: allowed is JSON objects",
    "data.largest=100000000000000000000": "data.largest=100000000000000000000: allowed is a number of at least 1 and at most",
    "data=pairs data.path={}/null.jsonl": "null.jsonl: allowed is JSON objects with texts under the keys source and target",
    "data=pairs data.path={}/t*o.txt": "one file, and this pattern names 2",
    "data=pairs data.path={}/forty.tsv data.test_share=0": "data.test_share=0: allowed is enough of the data for some pairs",
    "data=pairs data.path={}/forty.tsv data.source_field=-1": "data.source_field=-1: allowed is the number of a column",
    "data=text data.path={}/story.txt data.validation_share=0": "data.validation_share=0: allowed is enough of the data",
    "data=text data.path={}/story.txt data.test_path={}/latin.txt": "data.test_path={}/latin.txt: allowed is a UTF-8 text",
    "data.source_language=en_XX": "did you mean en_",
    "trainer.minutes=inf": "trainer.minutes=inf: allowed is a finite number",
    "seed=99999999999999999999": "seed=99999999999999999999: allowed is a number of at least 0 and at most 4294967295",
    "run.name=../elsewhere": "run.name=../elsewhere: allowed is the name of a folder",
    "run.name=": "run.name=: allowed is the name of a folder",
    "model.hidden=3000000": "model.hidden=3000000: allowed is less, or less than batch.columns=64",
    "optim=sgd optim.lr=1e38 trainer.clip.norm=null": "val/loss was never a number: the training has diverged",
    "data=text data.path={}/story.txt tbptt.chunk=9 cell=rnn cell.nonlinearity=relu optim=sgd optim.lr=1e6 "
    "trainer.clip.norm=null trainer.epochs=3": "val/loss was never a number: the training has diverged",
    "tokenizer.vocabulary=100": "tokenizer.vocabulary=100: allowed is a number of at least 260 with tokenizer=bpe",
    "data=text data.path={}/story.txt decoding.prompts=[Zebra]": "decoding.prompts='Z': allowed is a character",
    "tracking=wandb tracking.mode=online": "tracking.mode=online: allowed is auto or offline where no W&B login exists",
    "resume={}/none.ckpt": "none.ckpt: allowed is a checkpoint file, the folder of a run",
    "resume={}/broken.ckpt": "broken.ckpt: allowed is a whole checkpoint of throughtime",
    "trainer.accelerator=mps": "trainer.accelerator=mps: allowed is auto or cpu",
    "trainer.clip.value=1": "trainer.clip.value=1: allowed is null where trainer.clip.norm is set",
    "trainer.early_stopping.monitor=bits_per_character": "perplexity or token_error_rate with these metrics.scores",
}
DECODE = {
    "checkpoint=last references=[]": "references=[]: allowed is a file, a folder, a list of them, or null",
    "": "checkpoint=null: allowed is a checkpoint file",
    "checkpoint={}/none": "none: allowed is a checkpoint file",
    "checkpoint=last outputs={}/nowhere": "checkpoint=last: allowed is last only where a run",
    "checkpoint={}/broken.ckpt": "allowed is a whole checkpoint",
    "checkpoint={}/other.ckpt": "this one is of another kind",
    "checkpoint={}/old.ckpt": "allowed is a checkpoint of format 1, and this one has format 0",
    "checkpoint={}/old.ckpt input={}/none.txt": "input={}/none.txt: allowed is a file that is there",
    "checkpoint={}/old.ckpt output={}": "output={}: allowed is a file in a folder that is there",
    "checkpoint={}/old.ckpt output={}/none/out.txt": "none/out.txt: allowed is a file in a folder that is there",
    "checkpoint={}/old.ckpt input={}/two.txt output={}/two.txt": "another place, as the job reads {}/two.txt",
    "checkpoint={}/old.ckpt input={}/two.txt output={}/old.ckpt": "another place, as the job reads {}/old.ckpt",
    "checkpoint={}/old.ckpt input={}/two.txt references={}/too.txt output={}/too.txt": "as the job reads {}/too.txt",
    "checkpoint={}/old.ckpt mode=score input={}/two.txt targets={}/too.txt output={}/too.txt": "reads {}/too.txt",
    "checkpoint={}/old.ckpt input={}/notes/two.txt.resume output={}/notes/two.txt": "reads {}/notes/two.txt.resume",
    "checkpoint={}/old.ckpt output=": "output=: allowed is a file, a folder, or - for standard output",
    "checkpoint={}/old.ckpt input={}/t*o.txt output={}/three.txt": "three.txt: allowed is a folder, or - for standard",
    "checkpoint={}/old.ckpt input={} output={}/new": "new: allowed is a place outside of the input's folder",
    "checkpoint={}/old.ckpt input=[{}/two.txt,{}/two.txt] output={}/new": "files of different names, and 2 would become",
    "checkpoint={}/old.ckpt input=[{}/two.txt,{}/notes/two.txt.resume] output={}/new": "files of other names, as beside an",
    "checkpoint={}/old.ckpt input=[{}/two.txt,-]": "a list of them, or - alone for standard input",
    "checkpoint={}/old.ckpt input={}/empty": "input={}/empty: allowed is a folder with files in it",
    "checkpoint={}/old.ckpt resume=true": "resume=true: allowed is false with output=-",
    "checkpoint={}/old.ckpt baseline={}/two.txt": "baseline={}/two.txt: allowed is null without references=",
    "checkpoint={}/old.ckpt baseline={}/two.txt references={}/two.txt bootstrap=0": "bootstrap=0: allowed is at least 2",
    "checkpoint={}/old.ckpt targets={}/two.txt": "targets={}/two.txt: allowed is null without mode=score",
    "checkpoint={}/old.ckpt mode=score references={}/two.txt": "references={}/two.txt: allowed is null with mode=score",
    "checkpoint={}/old.ckpt mode=score attention=text": "attention=text: allowed is none with mode=score",
    "checkpoint={}/old.ckpt attention=image": "attention=image: allowed is with an output file",
    "checkpoint={}/old.ckpt attention=text output={}/out.txt": "attention=text: allowed is with output=-, or",
    "checkpoint={}/old.ckpt devices=0": "devices=0: allowed is a number of at least 1",
    "checkpoint={}/old.ckpt search=beem": "search=beem: allowed is beam, diverse, greedy, minimum_bayes_risk",
    "checkpoint={}/old.ckpt search=sample search.temperature=0": "temperature=0: allowed is a number of at least 0.001",
    "checkpoint={}/old.ckpt input={}/two.txt references={}/three.txt": "three.txt: allowed is a file of 2 lines",
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    contents = {
        "empty.txt": b"",
        "latin.txt": "caf\u00e9 au lait\n".encode("latin-1") * 50,
        "tiny.txt": b"ab",
        "two.txt": b"a\nb\n",
        "notes/two.txt.resume": b"a\nb\n",
        "three.txt": b"a\nb\nc\n",
        "bad.tsv": b"a\tb\nc\n",
        "bad.jsonl": b'{"source": "a"}\n',
        "null.jsonl": b'{"source": "a", "target": null}\n',
        "half.jsonl": b'{"source": "a", "target": "\\ud83d"}\n',
        "deep.jsonl": b"[" * 200_000 + b"\n",
        "too.txt": b"a\nb\n",
        "forty.tsv": b"a\tb\n" * 40,
        "table.xls": b"a\tb\n",
        "story.txt": b"the cat sat on the mat.\n" * 40,
        "broken.ckpt": b"PK not a checkpoint",
    }
    for folder in ("empty", "notes"):
        (tmp_path / folder).mkdir()
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"weights": 1}, tmp_path / "other.ckpt")
    torch.save({"state_dict": {}, "throughtime": {"format": 0}}, tmp_path / "old.ckpt")
    return tmp_path


def start(program: str, overrides: list[str], folder: Path) -> None:
    """The program's own steps, without Hydra's launcher."""
    with compose.one_sentence():
        if program == "decode":
            preflight("decode", overrides)
            decoding.decode(config.check(compose.composed("decode", overrides), config.DecodeConfig))
        else:
            preflight("train", overrides)
            training.run(compose.composed("train", overrides), folder / "run", overrides)


def told(program: str, line: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the program, run in this process, says before it ends with exit code 2."""
    overrides = line.replace("{}", str(folder)).split()
    with pytest.raises(SystemExit) as ending:
        start(program, overrides, folder)
    assert ending.value.code == 2
    return capsys.readouterr().err


def one_sentence(text: str) -> str:
    """The sentence, which must be the only line besides notes, and no traceback."""
    (line,) = [line for line in text.splitlines() if line and not line.startswith(("preparing", "note: "))]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(("line", "sentence"), TRAIN.items())
def test_train(line: str, sentence: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = FEW_NUMBERS if "data=" not in line and "data." not in line else []
    of_text = OF_TEXT if "data=text" in line or "data=stdlib_docs" in line else []
    small = [setting for setting in [*TINY, *of_text] if setting.split("=")[0] not in line]
    error = told("train", " ".join([f"outputs={files}/outputs", *small, *numbers, line]), files, capsys)
    assert sentence.replace("{}", str(files)) in one_sentence(error)


@pytest.mark.parametrize(("line", "sentence"), DECODE.items())
def test_decode(line: str, sentence: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sentence.replace("{}", str(files)) in one_sentence(told("decode", line, files, capsys))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("train.py", "cell=lsmt"),
        ("train.py", "outputs=/dev/null/x"),
        ("train.py", "-m cell=lstm,lsmt"),
        ("train.py", "-m cell=glob(l*) model.depth=0"),
        ("train.py", "-m seed=range(1,1)"),
        ("train.py", "seed=1 -m tbptt.chunk=interval(1,3)"),
        ("train.py", "-cn nope"),
        ("train.py", "-cd /nope"),
        ("decode.py", "checkpoint=none"),
        ("decode.py", "checkpiont=last"),
    ],
)
def test_the_programs_end_with_code_2(name: str, line: str, program: Callable) -> None:
    done = program(name, *line.split())
    assert done.returncode == 2
    assert one_sentence(done.stderr)
    assert not done.stdout


def test_interrupted_before_it_begins_a_program_ends_as_shells_expect(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending, compose.one_sentence():
        raise KeyboardInterrupt
    assert ending.value.code == 130
    assert not capsys.readouterr().err


def test_a_run_is_never_written_over(train: Callable[..., Path]) -> None:
    folder = train(*FEW_NUMBERS)
    before = (folder / "summary.json").read_bytes()
    with pytest.raises(config.Mistake, match=r"hydra\.run\.dir=.*: allowed is a folder without a run in it"):
        train(*FEW_NUMBERS)
    assert (folder / "summary.json").read_bytes() == before


@pytest.mark.parametrize("reason", [None, "bf16 needs another processor"])
def test_bf16_only_where_the_device_has_it(reason: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.devices, "why_not", lambda *_: reason)
    asked = {name: settings(f"trainer.precision={name}").trainer for name in ("auto", "bf16-mixed")}
    assert build.precision(asked["auto"]) == ("32-true" if reason else "bf16-mixed")
    with pytest.raises(config.Mistake, match=reason) if reason else nullcontext():
        assert build.precision(asked["bf16-mixed"]) == "bf16-mixed"


def test_of_runs_that_begin_at_once_one_owns_the_folder(tmp_path: Path) -> None:
    plain = settings()

    def begins(_: int) -> bool:
        try:
            return bool(Record.begin(plain, tmp_path / "run", []))
        except config.Mistake:
            return False

    with ThreadPoolExecutor(8) as runs:
        assert sum(runs.map(begins, range(8))) == 1


def test_settings_that_came_later_have_what_was_before(train: Callable[..., Path]) -> None:
    """A checkpoint from before there was a gradient flow is one without it."""
    values = yaml.safe_load((train(*FEW_NUMBERS, "flow.rows=1") / "config.yaml").read_text())
    assert config.check(values, config.TrainConfig).flow.rows == 1
    del values["flow"]
    assert config.check(values, config.TrainConfig).flow.rows == 0
    del values["seed"]
    with pytest.raises(config.Mistake, match=r"seed is missing\."):
        config.check(values, config.TrainConfig)
