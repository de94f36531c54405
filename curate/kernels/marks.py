"""Tables for the tokenizer in `pieces.py`: the roles of characters, and short strings with rules of their own."""

import numpy as np
import numpy.typing as npt

from curate.kernels.unicode import CLASS_BLOCKS, CLASS_INDEX, DIGIT, LETTER, PUNCTUATION, SPACE, SYMBOL, UPPER
from curate.kernels.words import GOPHER_STOP_WORDS

# Strings that are never split: abbreviations with their full stop, and fixed strings of marks and letters.
ABBREVIATIONS = """
a.m. p.m. e.g. E.g. E.G. i.e. I.e. I.E. vs. v.s. co. Co. Corp. Inc. Ltd. Bros. Dr. Gen. Gov. Jr. Messrs. Mr. Mrs. Ms.
Mt. Ph.D. Prof. Rep. Rev. Sen. St. Adm. Jan. Feb. Mar. Apr. Jun. Jul. Aug. Sep. Sept. Oct. Nov. Dec. Ak. Ala. Ariz.
Ark. Calif. Colo. Conn. D.C. Del. Fla. Ga. Ia. Id. Ill. Ind. Kan. Kans. Ky. La. Mass. Md. Mich. Minn. Miss. Mo. Mont.
N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Okla. Ore. Pa. S.C. Tenn. Va. Wash. Wis.
"""
TOGETHER = "and/or w/o o'clock ma'am C++ 's 'S 'd 're 'em :-) :-( ;-) :D :P :/ <3"
WHOLE = (*ABBREVIATIONS.split(), *TOGETHER.split(), *(f"{letter}." for letter in "abcdefghijklmnopqrstuvwxyz"))
# Pairs of marks that stay together at the ends of a word: smileys, and look-alikes.
PAIRS = ("''", "):", ":)", "(:", ":(", ":]", "[:", ";)", "(;", "=)")
# A unit after a digit is a token.
UNIT_NAMES = "km m dm cm mm ha nm yd in ft kg g mg t lb oz kmh mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M K %"
UNITS = UNIT_NAMES.split()
# Endings of contractions, after an apostrophe; "n't" is handled in code because it includes the n.
ENDINGS = ("ll", "ve", "re", "d", "m")

MARKS = ",:;!?()[]{}<>_#*&'\"`…¿؟¡。？！，、；：～·।،۔؛٪”“‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧"
DASHES = "—–"
CURRENCIES = "$£€¥฿₽﷼₴" + "".join(map(chr, range(0x20A0, 0x20C0)))
QUOTES = "'\"`”“‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧"
SENTENCE_ENDS = ".!?։؟۔।॥።！．？｡。"
OPERATORS = "¬±×÷" + "".join(map(chr, (*range(0x2190, 0x2195), *range(0x2200, 0x2300))))  # symbols, but not icons

# Role of a character in a word, as bits. A MARK is split off at both ends, a FRONT mark only at the beginning, MONEY at
# the beginning and after a digit, an ICON anywhere. A NUMBER is 0 to 9. A WORDY character makes a token a word. Every
# string that is never split contains a TELLING character.
MARK, FRONT, MONEY, ICON, QUOTE, LOWER, CAPITAL, NUMBER, WORDY, PUNCT, ENDS, BLANK, TELLING = (
    1 << k for k in range(13)
)
ALPHA = LOWER | CAPITAL
CODE_BITS = 21
CODE = (1 << CODE_BITS) - 1


def _roles() -> npt.NDArray[np.int16]:
    """The roles of each code point below 2 ** 16."""
    kinds = CLASS_BLOCKS[CLASS_INDEX[: 1 << 9]].reshape(-1).astype(np.int64)
    roles = np.where(kinds & LETTER, np.where(kinds & UPPER, CAPITAL, LOWER) | WORDY, 0)
    roles |= np.where(kinds & DIGIT, WORDY, 0) | np.where(kinds & PUNCTUATION, PUNCT, 0)
    roles |= np.where(kinds & SPACE, BLANK, 0) | np.where(kinds & SYMBOL, MARK | ICON, 0)
    ordinary = [*range(128), *map(ord, OPERATORS + MARKS + CURRENCIES)]
    roles[ordinary] &= ~(MARK | ICON)
    for characters, role in (
        (MARKS + DASHES, MARK), ("%=§", FRONT), (CURRENCIES, MONEY), (QUOTES, QUOTE), ("0123456789", NUMBER),
        (SENTENCE_ENDS, ENDS), ({c for string in WHOLE for c in string if not c.isalnum()} - set("()-"), TELLING),
    ):  # fmt: skip
        roles[[ord(c) for c in characters]] |= role
    return roles.astype(np.int16)


ROLES = _roles()

SLOT_BITS = 11
ANY_STOP_WORD = 255  # one bit for each of Gopher's eight stop words
IS_WHOLE, IS_UNIT, IS_ENDING, IS_PAIR, IS_CANNOT = (256 << k for k in range(5))


def _short_strings() -> tuple[np.uint64, npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """A perfect hash of the strings above: the multiplier, the packed string in each slot, and its facts as bits."""
    facts: dict[str, int] = {}
    kinds = [
        (WHOLE, IS_WHOLE),
        (UNITS, IS_UNIT),
        (ENDINGS, IS_ENDING),
        (PAIRS, IS_PAIR),
        (("cannot", "Cannot"), IS_CANNOT),
    ]
    kinds += [((word,), 1 << k) for k, word in enumerate(GOPHER_STOP_WORDS)]
    for strings, fact in kinds:
        for string in strings:
            facts[string] = facts.get(string, 0) | fact
    packed = np.array([int.from_bytes(string.encode(), "little") for string in facts], dtype=np.uint64)
    shift = np.uint64(64 - SLOT_BITS)
    draw = np.random.default_rng(0)
    multiplier = np.uint64(0xEDABA643BA127B67)  # precomputed; the loop searches again only if the strings change
    while len(np.unique((packed * multiplier) >> shift)) < len(packed):
        multiplier = draw.integers(1 << 63, 1 << 64, dtype=np.uint64) | np.uint64(1)
    keys, found = np.zeros(1 << SLOT_BITS, dtype=np.uint64), np.zeros(1 << SLOT_BITS, dtype=np.int64)
    slots = (packed * multiplier) >> shift
    keys[slots], found[slots] = packed, list(facts.values())
    return multiplier, keys, found


MULTIPLIER, KEYS, FACTS = _short_strings()
