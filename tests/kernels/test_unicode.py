"""The table of Unicode that kernels look characters up in, against Python's own."""

import re
import unicodedata

import pytest
from support.characters import ALL_CODES, CLASSES, CODES, DIVIDERS, LOWERED, is_spaceless

from curate.kernels import make_unicode, unicode


@pytest.mark.parametrize(
    ("bit", "holds"),
    [
        ("SPACE", str.isspace),
        ("LETTER", str.isalpha),
        ("DIGIT", lambda c: unicodedata.category(c) == "Nd"),
        ("UPPER", lambda c: unicodedata.category(c) in ("Lu", "Lt")),
        ("PUNCTUATION", lambda c: unicodedata.category(c).startswith("P")),
        ("SYMBOL", lambda c: unicodedata.category(c).startswith("S")),
        ("MARK", lambda c: unicodedata.category(c).startswith("M")),
        ("CONTROL", lambda c: unicodedata.category(c) == "Cc" and not c.isspace()),
        ("SPACELESS", is_spaceless),
        ("DIVIDER", lambda c: c in DIVIDERS),
        ("WORD", lambda c: re.match(r"\w", c) is not None),
    ],
)
def test_a_class_bit_is_set_where_python_says_so(bit, holds):
    # No exception is needed: what Unicode 14, 15 and 15.1 all assign they classify alike.
    assert [hex(code) for code in CODES if bool(CLASSES[code] & getattr(unicode, bit)) != holds(chr(code))] == []


def test_the_older_of_two_unicode_versions_assigns_nothing_that_the_newer_does_not():
    table = {code for code in ALL_CODES.tolist() if CLASSES[code] & unicode.ASSIGNED}
    python = {code for code in ALL_CODES.tolist() if unicodedata.category(chr(code)) not in ("Cn", "Cs")}
    versions = [tuple(map(int, v.split("."))) for v in (unicode.UNICODE_VERSION, unicodedata.unidata_version)]
    assert table <= python or versions[0] > versions[1]
    assert python <= table or versions[1] > versions[0]


def test_lower_case_is_pythons_where_it_depends_on_nothing_else():
    stable = [code for code in CODES if not CLASSES[code] & unicode.UNSTABLE]
    assert [hex(code) for code in stable if chr(LOWERED[code]) != chr(code).lower()] == []


def test_the_table_is_what_its_generator_makes():
    composing = make_unicode.composes_backward()
    for code in CODES:
        expected = make_unicode.class_bits(code) | make_unicode.UNSTABLE * (code in composing)
        assert CLASSES[code] == expected, hex(code)


def test_the_kernels_and_the_generator_of_their_table_name_the_same_bits():
    names = [name for name, bit in vars(make_unicode).items() if name.isupper() and isinstance(bit, int)]
    assert len(names) == 13
    assert [getattr(unicode, name) for name in names] == [getattr(make_unicode, name) for name in names]
