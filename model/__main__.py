"""`textcnn-classify`, also `python -m model`: texts to predictions."""

import sys
from collections.abc import Sequence

from .command import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run `textcnn-classify`; returns its exit status."""
    return run(lambda: _classify(sys.argv[1:] if argv is None else list(argv)))


def _classify(argv: list[str]) -> None:
    from .classify import classify

    classify(argv)


if __name__ == "__main__":
    sys.exit(main())
