"""Write unicode.npz: the class bits and the lower case of each code point.

Run it by hand to change the Unicode version: `python curate/kernels/make_unicode.py`. The table is committed so that
signals do not depend on the Python version that measures them. It is a two-stage table with blocks of 128 code points:
the class bits of code point c are blocks[index[c >> 7], c & 127].
"""

import sys
import unicodedata
from pathlib import Path

import numpy as np

SPACE, LETTER, DIGIT, UPPER, PUNCTUATION, SYMBOL, MARK, CONTROL = (1 << k for k in range(8))
SPACELESS, WORD, ASSIGNED, UNSTABLE, DIVIDER = (1 << k for k in range(8, 13))

SPACELESS_SCRIPTS = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA",
                     "THAI", "LAO", "KHMER", "MYANMAR", "IDEOGRAPHIC ITERATION MARK", "HENTAIGANA", "YI SYLLABLE",
                     "JAVANESE", "BALINESE", "TAI LE", "NEW TAI LUE", "TAI THAM", "TAI VIET")  # fmt: skip
DIVIDERS = ("TIBETAN MARK INTERSYLLABIC TSHEG", "TIBETAN MARK DELIMITER TSHEG BSTAR", "ETHIOPIC WORDSPACE")


def class_bits(code: int) -> int:
    """The class bits of a code point; `curate.kernels.unicode` documents them."""
    c = chr(code)
    category = unicodedata.category(c)
    bits = SPACE * c.isspace() | LETTER * c.isalpha() | DIGIT * (category == "Nd")
    bits |= UPPER * (category in ("Lu", "Lt")) | PUNCTUATION * (category[0] == "P") | SYMBOL * (category[0] == "S")
    bits |= MARK * (category[0] == "M") | CONTROL * (category == "Cc" and not c.isspace())
    bits |= SPACELESS * (c.isalpha() and unicodedata.name(c, "").startswith(SPACELESS_SCRIPTS))
    bits |= DIVIDER * (unicodedata.name(c, "") in DIVIDERS)
    bits |= WORD * (c.isalnum() or c == "_") | ASSIGNED * (category not in ("Cn", "Cs"))
    return bits | UNSTABLE * unstable(c)


def unstable(c: str) -> bool:
    """Whether lower-casing or NFC of `c` depends on its context or is not one to one."""
    if "\ud800" <= c <= "\udfff":
        return True
    lowered = c.lower()
    return (
        c == "Σ"  # its lower case depends on the letters around it
        or len(lowered) != 1
        or unicodedata.combining(c) != 0
        or unicodedata.normalize("NFC", c) != c
        or 0x1160 <= ord(c) <= 0x11FF  # Hangul vowels and finals compose with the character before them
    )


def composes_backward() -> set[int]:
    """Code points that are the second character of a canonical composition."""
    found = set()
    for code in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(int(parts[1], 16))
    return found


def two_stage(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split `values` (one per code point) into an index of blocks and the distinct blocks of 128."""
    blocks, index = np.unique(values.reshape(-1, 128), axis=0, return_inverse=True)
    return index.reshape(-1).astype(np.uint16), blocks


def main() -> None:
    """Write unicode.npz to the folder of this file."""
    bits = np.array([class_bits(code) for code in range(sys.maxunicode + 1)], dtype=np.uint16)
    bits[sorted(composes_backward())] |= UNSTABLE
    lower = np.zeros(sys.maxunicode + 1, dtype=np.int32)  # difference to the lower case, so that blocks repeat
    for code in range(sys.maxunicode + 1):
        if not bits[code] & UNSTABLE:
            lower[code] = ord(chr(code).lower()) - code
    class_index, class_blocks = two_stage(bits)
    lower_index, lower_blocks = two_stage(lower)
    np.savez_compressed(
        Path(__file__).parent / "unicode.npz",
        class_index=class_index, class_blocks=class_blocks, lower_index=lower_index, lower_blocks=lower_blocks,
        version=np.array(unicodedata.unidata_version),
    )  # fmt: skip


if __name__ == "__main__":
    main()
