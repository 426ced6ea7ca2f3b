"""Traditional Chinese characters and their simplified forms."""

from functools import cache

_CHARACTERS = range(0x3400, 0xA000)  # the common ideographs and their first extension


@cache
def simplified_characters() -> dict[str, str]:
    """The simplified form of each traditional character that has one, by OpenCC (Apache License 2.0)."""
    from opencc import OpenCC  # its dictionaries take a while

    convert = OpenCC("t2s").convert
    return {character: simple for character in map(chr, _CHARACTERS) if (simple := convert(character)) != character}
