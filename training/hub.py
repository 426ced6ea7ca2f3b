"""Tables from a dataset of the `datasets` library: a hub name or a folder."""

from collections.abc import Sequence
from typing import Any

from model.errors import InputError
from training.table import Table

_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "dev"), "test": ("test",)}


def read_dataset(name: str, config: str | None) -> dict[str, Table]:
    """The `train` split and, where they exist, `validation` and `test`; numbered classes become their names.

    A split without labels (-1 throughout, as competitions publish their test) is left out. Raises `InputError` when
    the dataset cannot be loaded or has no training split.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name, config)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"dataset: cannot load {name!r}: {' '.join(str(error).split())}") from error
    tables = {}
    for split, spellings in _SPLITS.items():
        found = next((spelling for spelling in spellings if spelling in loaded), None)
        if found is not None and not _is_hidden(loaded[found]):
            tables[split] = _table(f"{name}[{found}]", loaded[found])
    if "train" not in tables:
        raise InputError(f"dataset: {name!r} has no split 'train'; found {', '.join(loaded)}")
    return tables


def _table(source: str, split: Any) -> Table:
    columns = {name: _named(split[name], split.features[name]) for name in split.column_names}
    return Table(source, columns, range(1, len(split) + 1))


def _is_hidden(split: Any) -> bool:
    """Whether the classes of the rows are withheld."""
    classes = [name for name, feature in split.features.items() if hasattr(feature, "names")]
    return any(set(split.unique(name)) == {-1} for name in classes)


def _named(column: Any, feature: Any) -> Sequence[Any]:
    """The column with the names of its classes in place of their numbers; -1, which stands for none, becomes null."""
    inner = getattr(feature, "feature", feature)
    names = getattr(inner, "names", None)
    if names is None:
        return list(column)
    if inner is feature:
        return [names[value] if value is not None and value >= 0 else None for value in column]
    return [None if values is None else [names[value] for value in values] for values in column]
