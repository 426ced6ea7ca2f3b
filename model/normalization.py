"""What a learnt tokenizer does to texts before it cuts them to tokens; it travels in `tokenizer.json`."""

from collections.abc import Mapping

from tokenizers import Regex, normalizers

from .charmap import character_map

VERSION = 2  # of the steps below, written to `config.json`; 1 left control characters and repetitions as they were

# Nobody sees soft hyphens, joiners, directional marks, byte order marks, variation selectors and control characters.
_INVISIBLE = Regex(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\u0000-\u0008\u000e-\u001f\u007f-\u0084\u0086-\u009f]"
)
_REPEATED = Regex(r"([^\d\s])(?=\1\1)")  # all but the last two of the same character, digits excepted


def text_normalizer(
    lowercase: bool = True, squeeze_repeats: bool = True, characters: Mapping[str, str] | None = None
) -> normalizers.Normalizer:
    """NFKC, invisible characters removed, lower case, `characters` replaced, three or more of the same cut to two.

    >>> text_normalizer().normalize_str("Ｓo\u200b Goooood")
    'so good'
    """
    steps = [normalizers.NFKC(), normalizers.Replace(_INVISIBLE, "")]
    steps += [normalizers.Lowercase()] if lowercase else []
    steps += [character_map(characters)] if characters else []
    steps += [normalizers.Replace(_REPEATED, "")] if squeeze_repeats else []
    return normalizers.Sequence(steps)
