"""A command line as Hydra is to see it."""

import pytest

from throughtime import compose, config


@pytest.mark.parametrize(
    ("argument", "kept"),
    {
        "run.name=2024_01": "2024_01",
        "run.name=1e5": "1e5",
        "run.name=1.50": "1.50",
        "run.name=+7": "+7",
        "run.name=2024": 2024,
        "run.name=007": "007",
    }.items(),
)
def test_a_name_is_a_text(argument: str, kept: str | int) -> None:
    (written,) = compose.ready("train", [argument])
    assert compose.composed("train", [written])["run"]["name"] == kept


def test_numbers_are_left_alone_and_flags_go_first() -> None:
    arguments = ["optim.lr=1e-3,1e-2", "trainer.minutes=1e-1", "-m", "seed=1_0", "hydra.job.num=1_0", "cell=gru"]
    overrides = [argument for argument in arguments if argument != "-m"]
    assert compose.ready("train", arguments) == ["-m", *overrides]


@pytest.mark.parametrize(
    ("argument", "written"),
    {
        "run.tags=[1_0,a b,1.50]": 'run.tags=["1_0",a b,"1.50"]',
        "run.name=2024_01,2024_02": 'run.name="2024_01","2024_02"',
        "run.tags=[1_0],[7]": 'run.tags=["1_0"],[7]',
        "run.tags=[]": "run.tags=[]",
        "run.name='1_0,2'": "run.name='1_0,2'",
        "decoding.prompts=[1.50,2]": 'decoding.prompts=["1.50",2]',
        "seed=1_0,2_0": "seed=1_0,2_0",
    }.items(),
)
def test_texts_of_lists_and_sweeps_stay_as_they_are(argument: str, written: str) -> None:
    more = ["data=stdlib_docs"] if argument.startswith("decoding") else []
    assert compose.ready("train", ["-m", *more, argument]) == ["-m", *more, written]


def test_a_seed_may_be_the_jobs_number() -> None:
    arguments = ["seed=${hydra:job.num}", "run.name=job-${hydra:job.num}"]
    assert compose.ready("train", arguments) == arguments
    assert compose.composed("train", arguments)["run"]["name"] == "job-0"


def test_what_informs_has_a_value_of_its_own() -> None:
    assert compose.ready("train", ["cell=gru", "--info", "defaults"]) == ["--info", "defaults", "cell=gru"]
    assert compose.ready("train", ["--info", "cell=gru"]) == ["--info", "cell=gru"]


def test_a_sweep_goes_on_from_one_checkpoint() -> None:
    with pytest.raises(config.Mistake, match=r"^resume=a,b lists several values: allowed is one"):
        compose.continued(["-m", "resume=a,b"])


def test_several_values_are_a_sweep() -> None:
    assert compose.ready("train", ["hydra.mode=MULTIRUN", "cell=gru,rnn"])


@pytest.mark.parametrize(("written", "meant"), {"1e3": 1000, "2.0": 2, "7": 7}.items())
def test_a_whole_number_may_be_written_as_another(written: str, meant: int) -> None:
    checked = config.check(compose.composed("train", [f"trainer.steps={written}"]), config.TrainConfig)
    assert checked.trainer.steps == meant and isinstance(checked.trainer.steps, int)


def test_shells_may_complete_a_line() -> None:
    assert compose.ready("train", ["-sc", "install=bash"]) == ["-sc", "install=bash"]


@pytest.mark.parametrize(
    "folder",
    ["${cell.name}", "${hydra.job.override_dirname}", "${hydra.job.id}", "job-${hydra:job.num}", "${now:%H-%M}"],
)
def test_jobs_may_lie_in_folders_of_any_names(folder: str) -> None:
    sweep = ["-m", "cell=rnn,lstm", f"hydra.sweep.subdir={folder}"]
    assert compose.ready("train", sweep) == sweep
