"""Which checkpoints are served, and by which names."""

from pathlib import Path

import pytest

from model.errors import InputError
from service.served import Served, read_served


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def test_a_folder_alone_follows_its_name_and_several_keep_theirs(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one"), folder(tmp_path / "rate=0.1")
    (alone,) = read_served([str(one)])
    assert (alone.folder, alone.name, alone.shown) == (str(one), None, "one")
    (named,) = read_served([f"a={one}"])
    assert (named.folder, named.name) == (str(one), "a")
    (with_sign,) = read_served([str(other)])
    assert (with_sign.folder, with_sign.shown) == (str(other), "rate=0.1")
    several = read_served([f"a={one}", str(one), f"new-2.b={other}"], "one")
    assert [(entry.name, entry.folder, entry.shadow) for entry in several] == [
        ("a", str(one), False),
        ("one", str(one), True),
        ("new-2.b", str(other), False),
    ]


@pytest.mark.parametrize(
    ("entries", "shadow", "sentence"),
    [
        (["a={}", "a={}"], None, "checkpoint names must differ, got 'a' twice"),
        (["{}", "{}"], None, "checkpoint names must differ, got 'one' twice"),
        (["a={}", "b={}/nowhere"], None, "checkpoint folder does not exist: .*nowhere"),
        (["a="], None, "checkpoint folder does not exist: ''"),
        (["{}"], "one", "shadow must be the name of a checkpoint after the first, which answers, got 'one'"),
        (["a={}", "b={}"], "a", "shadow must be the name .* got 'a'"),
        (["a={}", "b={}"], "c", "shadow must be the name .* got 'c'"),
    ],
)
def test_names_that_cannot_be(entries: list[str], shadow: str | None, sentence: str, tmp_path: Path) -> None:
    one = folder(tmp_path / "one")
    with pytest.raises(InputError, match=sentence):
        read_served([entry.format(one) for entry in entries], shadow)


@pytest.mark.parametrize("name", ["circle", "nul\0", "nowhere"])
def test_a_folder_that_is_none_is_left_for_the_worker_to_tell(name: str, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    pinned = Served(str(tmp_path / name)).pinned()
    assert (pinned.source, pinned.revision) == (str(tmp_path / name), "")
