"""Tables from a dataset of the `datasets` library: a hub name or a folder."""

from collections.abc import Sequence
from typing import Any

from model.errors import InputError
from training.table import Table
from training.targets import label_column_of

_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "dev"), "test": ("test",)}


def read_dataset(name: str, config: str | None, label_column: str) -> dict[str, Table]:
    """The `train` split and, where they exist, `validation` and `test`; numbered classes become their names.

    A split without labels (-1 throughout, as competitions publish their test) is left out. Raises `InputError` when
    the dataset cannot be loaded or has no training split.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:  # RuntimeError: scripts
        raise InputError(f"dataset: cannot load {name!r}: {' '.join(str(error).split())}") from error
    tables = {}
    for split, spellings in _SPLITS.items():
        found = next((spelling for spelling in spellings if spelling in loaded), None)
        if found is not None and not _is_hidden(loaded[found], label_column):
            tables[split] = _table(f"{name}[{found}]", loaded[found])
    if "train" not in tables:
        raise InputError(f"dataset: {name!r} has no split 'train'; found {', '.join(loaded)}")
    return tables


def _table(source: str, split: Any) -> Table:
    columns = {name: _named(split[name], split.features[name]) for name in split.column_names}
    return Table(source, columns, range(1, len(split) + 1))


def _is_hidden(split: Any, label_column: str) -> bool:
    """Whether the classes of the rows are withheld; what other columns withhold is of no interest."""
    column = label_column_of(split.features, label_column)
    feature = split.features.get(column)
    if hasattr(feature, "names"):
        return set(split.unique(column)) == {-1}
    if not hasattr(getattr(feature, "feature", None), "names"):
        return False
    return {value for values in split[column] for value in values or ()} == {-1}


def _named(column: Any, feature: Any) -> Sequence[Any]:
    """The column with the names of its classes in place of their numbers; -1, which stands for none, becomes null."""
    inner = getattr(feature, "feature", feature)
    names = getattr(inner, "names", None)
    if names is None:
        return list(column)
    if inner is feature:
        return [_name(value, names) for value in column]
    return [None if values is None else [_name(value, names) for value in values] for values in column]


def _name(value: int | None, names: Sequence[str]) -> str | None:
    return names[value] if value is not None and value >= 0 else None
