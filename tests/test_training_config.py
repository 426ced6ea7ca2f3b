"""Flags and YAML: the command line wins, nothing is guessed, every mistake is one sentence."""

import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InputError
from training.config import DataArguments, ModelArguments, parse
from training.config_training import TextCnnTrainingArguments

REQUIRED = ["--train_file", "train.csv", "--output_dir", "out", "--device", "cpu"]


def parse_with(*flags: str) -> tuple[DataArguments, ModelArguments, TextCnnTrainingArguments]:
    return parse([*REQUIRED, *flags])


def config_file(folder: Path, content: Any) -> list[str]:
    path = folder / "train.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return ["--config", str(path)]


def test_defaults_keep_the_best_epoch() -> None:
    _, model, training = parse_with()
    assert model.max_length is None
    assert training.load_best_model_at_end
    assert (training.eval_strategy, training.save_strategy) == ("epoch", "epoch")
    assert training.metric_for_best_model is None  # told from the data
    assert training.report_to == ["tensorboard"]


def test_flags_with_hyphens_and_negations() -> None:
    data, model, training = parse_with("--text-column", "body", "--no_lowercase", "--per-device-train-batch-size", "3")
    assert (data.text_column, model.lowercase, training.per_device_train_batch_size) == ("body", False, 3)


def test_command_line_wins_over_file(tmp_path: Path) -> None:
    entries = {"seed": 1, "kernel_sizes": [2, 3], "dropout": 0.25, "lowercase": False, "device": "cpu", "max-length": 9}
    _, model, training = parse_with(*config_file(tmp_path, entries), "--seed", "2", "--kernel_sizes", "5")
    assert (training.seed, model.kernel_sizes) == (2, [5])
    assert (model.dropout, model.lowercase, model.max_length) == (0.25, False, 9)


@given(
    seed=st.integers(0, 2**31),
    dropout=st.floats(0, 0.99),
    column=st.text(st.characters(categories=["L", "N", "P"]), min_size=1).filter(str.strip),
    kernel_sizes=st.lists(st.integers(1, 9), min_size=1),
)
def test_file_means_what_the_command_line_means(
    tmp_path_factory: pytest.TempPathFactory, seed: int, dropout: float, column: str, kernel_sizes: list[int]
) -> None:
    entries = {"seed": seed, "dropout": dropout, "text_column": column, "kernel_sizes": kernel_sizes}
    data, model, training = parse_with(*config_file(tmp_path_factory.mktemp("config"), entries))
    assert (training.seed, model.dropout, data.text_column, model.kernel_sizes) == (seed, dropout, column, kernel_sizes)


def test_yaml_spellings(tmp_path: Path) -> None:
    content = (
        "learning_rate: 1e-3\neval_strategy: no\nload_best_model_at_end: no\nsave_strategy: no\nmax_length: null\n"
    )
    _, model, training = parse_with(*config_file(tmp_path, content))
    assert (training.learning_rate, training.eval_strategy, training.save_strategy) == (1e-3, "no", "no")
    assert model.max_length is None


@pytest.mark.parametrize("name", ["2024-01-01", "2024-01-01 10:30:00"])
def test_a_date_in_a_file_is_a_name(tmp_path: Path, name: str) -> None:
    arguments = config_file(tmp_path, f"output_dir: {name}\nlabel_column: {name}\n")
    data, _, training = parse([*REQUIRED[:2], "--device", "cpu", *arguments])
    assert (training.output_dir, data.label_column) == (name, name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"learning_rat": 1}, "unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        ({"qqq": 1}, "unknown key 'qqq'"),
        ({"config": "other.yaml"}, "unknown key 'config'"),
        ({"help": True}, "unknown key 'help'"),
        ({3: 1}, "unknown key '3'"),
        ({"seed": "soon"}, "argument --seed: invalid int value: 'soon'"),
        ({"seed": True}, "argument --seed: invalid int value: 'true'"),
        ({"seed": 1.5}, "argument --seed: invalid int value: '1.5'"),
        ({"lowercase": "maybe"}, "Truthy value expected: got maybe"),
        ({"padding_side": "top"}, "invalid choice: 'top'"),
        ({"seed": [1, 2]}, "seed must be one value, got [1, 2]"),
        ({"kernel_sizes": []}, "kernel_sizes must be a list of values, got []"),
        ({"kernel_sizes": [1, "two"]}, "invalid int value: 'two'"),
        ("just a sentence", "must hold `key: value` lines, got a str"),
        ("a: [1", "not YAML in UTF-8"),
        ("text_column: 2024-13-45", "not YAML in UTF-8: month must be in 1..12"),
        ("seed: !!timestamp soon", "not YAML in UTF-8"),
        ("seed: 1\nlowercase: true\nseed: 2\n", "seed must be given once, got it in lines 1 and 3"),
        ("{seed: 1, seed: 2}", "seed must be given once, got it in lines 1 and 1"),
    ],
)
def test_mistakes_in_a_file_name_file_and_key(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_with(*config_file(tmp_path, content))
    assert str(tmp_path / "train.yaml") in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "rate"),
    [
        ([], 2e-3),
        (["--teacher", "x"], 2e-3),
        (["--vectors", "y"], 2e-3),
        (["--teacher", "x", "--vectors", "y"], 5e-4),
        (["--teacher", "x", "--vectors", "y", "--optim", "adadelta"], 1.0),
        (["--teacher", "x", "--vectors", "y", "--learning_rate", "1e-3"], 1e-3),
    ],
)
def test_the_step_size_suits_optimizer_and_texts(flags: list[str], rate: float) -> None:
    assert parse_with(*flags)[2].learning_rate == rate


@pytest.mark.parametrize(("given", "kind"), [([], "wordpiece"), (["--tokenizer", "word"], "word")])
def test_vectors_in_a_file_leave_the_tokenizer_as_it_is(tmp_path: Path, given: list[str], kind: str) -> None:
    file = tmp_path / "vectors.txt"
    file.touch()
    assert parse_with(*given)[1].tokenizer == parse_with(*given, "--vectors", str(file))[1].tokenizer == kind


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--learning_rat", "1"], "unknown argument '--learning_rat'; did you mean '--learning_rate'?"),
        (["--learning", "1"], "unknown argument '--learning'"),  # no prefix matching
        (["--seed", "soon"], "argument --seed: invalid int value: 'soon'"),
        (["--device", "cuda:99"], "device 'cuda:99' does not exist"),
        (["--device", "tpu"], "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
        (["--config", "none.yaml"], "config: cannot read 'none.yaml': No such file or directory"),
        (["--dataset", "name"], "give either --train_file FILE or --dataset NAME"),
        (["--validation_share", "1"], "validation_share must be between 0 and 1, got 1.0"),
        (["--per_device_train_batch_size", "0"], "per_device_train_batch_size must be at least 1, got 0"),
        (["--gradient_accumulation_steps", "0"], "gradient_accumulation_steps must be at least 1, got 0"),
        (["--dataloader_num_workers", "-1"], "dataloader_num_workers must be at least 0, got -1"),
        (["--num_train_epochs", "0"], "num_train_epochs must be above 0, got 0.0"),
        (["--dataloader_persistent_workers"], "dataloader_persistent_workers needs dataloader_num_workers above 0"),
        (["--gradient_checkpointing"], "gradient_checkpointing must be false: a text CNN has no layers worth"),
        (["--debug", "underflow_overflow"], "debug must be without underflow_overflow"),
        (["--use_liger_kernel"], "use_liger_kernel must be false: a text CNN has no layer that it replaces"),
        (["--eval_do_concat_batches", "false"], "eval_do_concat_batches must be true: the metrics look at all logits"),
        (["--bf16_full_eval"], "bf16_full_eval must be false: it would round the weights that are written"),
        (["--fp16_full_eval"], "fp16_full_eval must be false: it would round the weights that are written"),
        (["--push_to_hub"], "push_to_hub must be false: it would upload unfinished folders; `hf upload NAME FOLDER`"),
        (["--autotune_minutes", "0"], "autotune_minutes must be above 0, got 0.0"),
        (["--deepspeed", "x.json"], "deepspeed"),
        (["--fp16"], "fp16 needs a GPU; on a CPU --bf16 halves the precision"),
        (["--report_to", "clearml"], "report_to must be none, all or some of those installed here, tensorboard"),
        (["--teacher_epochs", "0"], "teacher_epochs must be at least 1, got 0"),
        (["--initial_embedding_std", "nan"], "initial_embedding_std must be finite and at least 0, got nan"),
        (["--initial_embedding_std", "inf"], "initial_embedding_std must be finite and at least 0, got inf"),
        (["--max_norm", "inf"], "max_norm must be a finite number, got inf"),
        (["--max_grad_norm", "nan"], "max_grad_norm must be a finite number, got nan"),
        (["--early_stopping_threshold", "nan"], "early_stopping_threshold must be a finite number, got nan"),
        (["--weight_decay", "nan"], "weight_decay must be a finite number, got nan"),
        (["--neftune_noise_alpha", "nan"], "neftune_noise_alpha must be a finite number, got nan"),
        (["--learning_rate", "inf"], "learning_rate must be a finite number, got inf"),
        (["--adam_epsilon=-inf"], "adam_epsilon must be a finite number, got -inf"),
        (["--weight_decay=-0.1"], "weight_decay must be at least 0, got -0.1"),
        (["--max_grad_norm=-1"], "max_grad_norm must be at least 0, got -1.0"),
        (["--num_train_epochs=-1"], "num_train_epochs must be at least 0, got -1.0"),
        (["--conv_padding", "wide"], "conv_padding must be a number of tokens, same or valid, got 'wide'"),
        (["--conv_padding=-1"], "conv_padding must be a number of tokens, same or valid, got '-1'"),
        (["--vocab_size", "0"], "vocab_size must be at least 1, got 0"),
        (["--eval_strategy", "no"], "requires the save and eval strategy to match"),
    ],
)
def test_mistakes_on_the_command_line(flags: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_with(*flags)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["output_dir", "train_file"])
def test_required_flags(missing: str) -> None:
    given_flags = {"train_file": "train.csv", "output_dir": "out"}
    del given_flags[missing]
    with pytest.raises(InputError, match=missing):
        parse([f"--{name}={value}" for name, value in given_flags.items()])


def test_help_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "--device" in shown
    assert "--kernel_sizes" in shown


OURS = [
    field
    for kind in (DataArguments, ModelArguments, TextCnnTrainingArguments)
    for field in fields(kind)
    if field.name in kind.__annotations__  # not those that transformers' class passes on unchanged
]


@pytest.mark.parametrize("field", OURS, ids=lambda field: field.name)
def test_readme_documents_every_flag_of_ours(field: Field[Any]) -> None:
    flag = field.metadata.get("aliases", [f"--{field.name}"])[0]
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    words = [str(word).lower() if isinstance(word, bool) else str(word) for word in _as_list(default)]
    row = f"| `{flag}` | {'`' + ' '.join(words) + '`' if words else ''} | {field.metadata['help']} |"
    readme = Path(__file__).parents[1] / "training" / "README.md"
    assert row in readme.read_text(encoding="utf-8").splitlines()


def test_readme_names_every_flag() -> None:
    readme = (Path(__file__).parents[1] / "training" / "README.md").read_text(encoding="utf-8")
    named = {flag for cell in re.findall(r"`--([^`]*)`", readme) for flag in cell.split()[:1]}
    for kind in (DataArguments, ModelArguments, TextCnnTrainingArguments):
        for field in fields(kind):
            assert {field.name, *(alias[2:] for alias in field.metadata.get("aliases", []))} & named, field.name


def _as_list(default: object) -> list[object]:
    if default is None:
        return []
    return default if isinstance(default, list) else [default]


def test_every_flag_has_a_sentence_of_help() -> None:
    for kind in (DataArguments, ModelArguments, TextCnnTrainingArguments):
        for field in fields(kind):
            assert field.metadata["help"].strip(), field.name
