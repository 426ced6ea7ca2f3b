"""A map of characters as a normalizer of `tokenizers`: one look-up for each character, however many the map has."""

import struct
from collections import deque
from collections.abc import Mapping
from typing import Any

from tokenizers import normalizers

_LEAF = 1 << 8  # set in a unit below which a value stands
_VALUE = 1 << 31  # set in a unit that is a value


def character_map(mapping: Mapping[str, str]) -> normalizers.Normalizer:
    """Replaces each key by its value; characters are keys of few bytes.

    The map is a double-array trie as sentencepiece writes them (Darts-clone; Aoe 1989, doi:10.1109/32.31365): byte c
    leads from a unit with base b to the unit b ^ c, which holds c and the difference between its own base and place.

    >>> character_map({"貓": "猫"}).normalize_str("一隻貓")
    '一隻猫'
    """
    root: dict[int, Any] = {}
    values = bytearray()
    for key, value in mapping.items():
        node = root
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = len(values)  # no UTF-8 text holds a zero byte
        values += value.encode() + b"\0"
    units = _place(root)
    size = (max(units) | 0xFF) + 1  # no byte leads beyond
    trie = struct.pack(f"<{size}I", *(units.get(index, 0) for index in range(size)))
    return normalizers.Precompiled(struct.pack("<I", len(trie)) + trie + bytes(values))


def _place(root: dict[int, Any]) -> dict[int, int]:
    """The units of the trie by their place, each base taken once: else a byte could lead into a foreign branch."""
    units, bases = {0: 0}, {0}
    waiting = deque([(root, 0)])
    next_slot = 1  # for the many nodes of one child, which fit anywhere
    while waiting:
        node, place = waiting.popleft()
        labels = list(node)
        slot = next_slot if len(labels) == 1 else 1
        while (base := slot ^ labels[0]) in bases or any(base ^ label in units for label in labels):
            slot += 1
        next_slot = slot + 1 if len(labels) == 1 else next_slot
        bases.add(base)
        units[place] |= (place ^ base) << 10 | (_LEAF if 0 in node else 0)
        for label, child in node.items():
            units[base ^ label] = child | _VALUE if label == 0 else label
            if label:
                waiting.append((child, base ^ label))
    return units
