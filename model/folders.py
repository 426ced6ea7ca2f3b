"""A folder of files, scored one after the other, or side by side on the workers of a Ray cluster."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .classifier import TextClassifier
from .encoding import use_threads
from .errors import InputError
from .files import ending, is_gzip
from .options import InferenceOptions
from .resumption import require_made_by
from .rows import first_repeated
from .scoring import ScoringOptions, run_of, score_file

READ = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".txt")  # .gz may follow
WRITTEN = (".csv", ".jsonl")
RECORDS = ".runs"  # folder beside the outputs, of a file each that tells what made the output


@dataclass(frozen=True)
class Job:
    """Who scores, and how."""

    checkpoint: str
    device: str
    options: InferenceOptions
    scoring: ScoringOptions
    cores: int | None = None  # of this process; all that it may use, if it shares them with no other

    def classifier(self) -> TextClassifier:
        """The classifier, half of the cores for it and half for its tokenizer, which works at the same time.

        Where that is one each, two threads take both jobs, each for lists of its own.
        """
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = max(1, (self.cores or usable) // 2)
        torch.set_num_threads(threads)
        use_threads(threads)
        return TextClassifier.from_pretrained(self.checkpoint, self.device, **asdict(self.options))


class FileScorer:
    """One worker: loads the classifier once, then scores the files that it is given."""

    def __init__(self, job: Job) -> None:
        self._job, self._classifier = job, job.classifier()

    def __call__(self, file: dict[str, Any]) -> dict[str, Any]:
        """What became of `{"source", "target"}`: its `reports`, and an `error` or ""."""
        reports: list[str] = []
        error = ""
        try:
            self._score(file["source"], Path(file["target"]), reports.append)
        except InputError as mistake:
            error = str(mistake)
        return {"reports": "\n".join(reports), "error": error}

    def _score(self, source: str, target: Path, report: Callable[[str], None]) -> None:
        classifier, scoring = self._classifier, self._job.scoring
        record = target.parent / RECORDS / f"{target.name}.json"
        if target.exists():
            require_made_by(run_of(classifier, source, scoring), target, record)
            report(f"{target}: was complete before")
        else:
            texts = score_file(classifier, source, target, scoring, report, lambda count: None, record)
            report(f"{target}: {texts:,} texts")


def score_folder(job: Job, source: Path, target: Path, tell: Callable[[str], None], on_ray: bool = False) -> None:
    """Score every file of `source` that can be read into a file of `target`, but for those that are there already.

    Raises `InputError` where both are one folder, and with the first mistake, after all other files, among them a file
    of `target` that another run made.
    """
    if source.resolve() == target.resolve():
        raise InputError(f"output must be another folder than the input, got {str(target)!r}")
    files = [path for path in sorted(source.iterdir()) if ending(path) in READ and path.name[0] != "."]
    if not files:
        raise InputError(f"input {str(source)!r} holds no file that ends in {', '.join(READ)}, .gz may follow")
    targets = [target / _target_name(path) for path in files]
    if (twice := first_repeated(targets)) is not None:
        same = " and ".join(repr(path.name) for path, one in zip(files, targets, strict=True) if one == twice)
        raise InputError(f"input {str(source)!r} holds {same}, which would both become {twice.name!r}; rename one")
    _make_folder(target)
    pairs = [{"source": str(path), "target": str(one)} for path, one in zip(files, targets, strict=True)]
    mistakes = []
    for result in _on_ray(job, pairs) if on_ray else map(FileScorer(job), pairs):
        for line in filter(None, (*result["reports"].split("\n"), result["error"])):
            tell(line)
        mistakes += [result["error"]] if result["error"] else []
    if mistakes:
        raise InputError(f"{len(mistakes)} of {len(pairs)} files are not complete; the first: {mistakes[0]}")


def _on_ray(job: Job, pairs: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """`FileScorer` on every worker that the cluster has room for."""
    try:
        import ray
    except ImportError as error:
        raise InputError("ray is not installed; pip install 'textcnn-service[ray]'") from error
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    share, room, needs = share_of(job, ray.cluster_resources())
    files = ray.data.from_items(pairs, override_num_blocks=len(pairs))
    workers = max(1, min(room, len(pairs)))
    yield from files.map(FileScorer, fn_constructor_args=(share,), concurrency=workers, **needs).iter_rows()


def share_of(job: Job, cluster: Mapping[str, float]) -> tuple[Job, int, dict[str, int]]:
    """The job of one worker of a Ray cluster with such resources, how many workers there may be, what each needs.

    A worker has one GPU, which Ray shows it as the first, or one core. Raises `InputError` for a GPU of none.
    """
    cores, gpus = int(cluster.get("CPU", 0)), int(cluster.get("GPU", 0))
    if job.device.startswith("cuda"):
        if not gpus:
            raise InputError(f"device must be auto or cpu, for the Ray cluster has no GPU, got {job.device!r}")
        job = replace(job, device="cuda")
    if job.device == "cpu" or not gpus:
        return replace(job, device="cpu", cores=1), cores, {"num_cpus": 1}
    return replace(job, cores=max(1, cores // gpus)), gpus, {"num_gpus": 1}


def _make_folder(path: Path) -> None:
    try:
        (path / RECORDS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output {str(path)!r} must be a folder that can be written ({error.strerror})") from error


def _target_name(path: Path) -> str:
    return path.name if ending(path) in WRITTEN else f"{path.stem if is_gzip(path) else path.name}.jsonl"
