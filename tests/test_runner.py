"""Which form of the network runs: by flag, by budget, by precision."""

from pathlib import Path

import pytest

from model.classifier import TextClassifier
from model.errors import InputError
from model.options import InferenceOptions
from tests.checkpoints import TEXTS, write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("random"))


def table_bytes(folder: Path, **options: object) -> int:
    return TextClassifier.from_pretrained(folder, "cpu", **options).folded_bytes


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_folding_is_automatic_on_the_cpu_within_its_budget(folder: Path, precision: str) -> None:
    whole = table_bytes(folder, precision=precision)
    megabytes = whole / 1e6
    assert whole > 0
    assert table_bytes(folder, precision=precision, folding_budget_mb=megabytes * 1.01) == whole
    assert table_bytes(folder, precision=precision, folding_budget_mb=megabytes * 0.99) == 0
    assert table_bytes(folder, precision=precision, folding_budget_mb=0, folding="on") == whole
    assert table_bytes(folder, precision=precision, folding="off") == 0


@pytest.mark.parametrize("folding", ["on", "off"])
@pytest.mark.parametrize(("precision", "error"), [("bfloat16", 2e-2), ("float16", 2e-3)])
def test_sixteen_bits_round_the_scores_and_halve_the_table(
    folder: Path, folding: str, precision: str, error: float
) -> None:
    exact = TextClassifier.from_pretrained(folder, "cpu", folding=folding)
    rounded = TextClassifier.from_pretrained(folder, "cpu", folding=folding, precision=precision)
    assert rounded.folded_bytes * 2 == exact.folded_bytes
    difference = abs(rounded.score(TEXTS)[0] - exact.score(TEXTS)[0]).max()
    assert error / 300 < difference < error


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"folding": "yes"}, "folding must be one of auto, on, off, got 'yes'"),
        ({"precision": "int8"}, "precision must be one of float32, tf32, bfloat16, float16, got 'int8'"),
        ({"folding_budget_mb": -1.0}, "folding_budget_mb must be at least 0, got -1.0"),
        ({"folding_budget_mb": float("nan")}, "folding_budget_mb must be at least 0, got nan"),
    ],
)
def test_options_that_do_not_exist_are_named(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        InferenceOptions(**options)  # type: ignore[arg-type]


def test_tf32_is_for_gpus(folder: Path) -> None:
    with pytest.raises(InputError, match="precision tf32 needs a CUDA device, got cpu"):
        TextClassifier.from_pretrained(folder, "cpu", precision="tf32")


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"folding": "off"}, {"folding": "on"}])
def test_a_gpu_gives_the_scores_of_the_cpu(folder: Path, options: dict[str, str]) -> None:
    expected, _ = TextClassifier.from_pretrained(folder, "cpu").score(TEXTS)
    found, timing = TextClassifier.from_pretrained(folder, "cuda", **options).score(TEXTS)
    assert timing.clock == "cuda_events"
    assert found == pytest.approx(expected, abs=1e-4)
