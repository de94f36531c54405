"""Personal data and secrets: found by kernels for their form, checked by the libraries that know each kind.

What is found is never copied: edits hold places and placeholders, signals hold counts.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import kernels
from curate.filters.registry import FOUND, Bound, Columns, EditRule, edit, signal
from curate.kernels.arrow import null_mask, plain_text, text_views

LIBRARIES = ("phonenumberslite", "python-stdnum")
RULES = (
    EditRule("email", "an e-mail address", "RFC 5322 as it is used: a local part, @, and a domain with a full stop"),
    EditRule(
        "phone", "a phone number with + and country code, or a North American one", "phonenumbers (libphonenumber)"
    ),
    EditRule("ip_address", "an IPv4 or IPv6 address", "RFC 791, RFC 4291 (Python's ipaddress)"),
    EditRule("payment_card", "a payment card number", "ISO/IEC 7812 (python-stdnum's Luhn)"),
    EditRule("iban", "an international bank account number", "ISO 13616 (python-stdnum)"),
    EditRule("ssn", "a US social security number, as in 000-12-3456", "Social Security Administration"),
    EditRule("api_key", "a key or token of a service, by its prefix", "the services' documentation"),
    EditRule("private_key", "a private key in PEM form", "RFC 7468"),
)
KINDS = tuple(rule.reason for rule in RULES)  # in the order of the kernel's codes
RESERVED_KINDS = ("email", "phone", "ip_address", "payment_card", "ssn")  # those of which some belong to nobody
COUNTS = {kind: f"raw_n_{kind}{'es' if kind.endswith('s') else 's'}" for kind in KINDS}
RESERVED_COUNTS = {kind: COUNTS[kind].replace("raw_n_", "raw_n_reserved_") for kind in RESERVED_KINDS}

RESERVED_DOMAINS = re.compile(r"(?:.*[.@])?(?:example\.(?:com|org|net)|example|test|invalid|localhost)")  # RFC 2606
FILE_NAMES = re.compile(r"\.(?:png|jpe?g|gif|svg|webp|css|js|py|html?|php)$", re.IGNORECASE)  # icon@2x.png
ISSUED = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35\d{14}"
    r"|6(?:011|4[4-9]\d|5\d\d|2\d\d)\d{12,15}"
)
MAX_VERSION = 9  # characters: 3.8.11.1 is a version or a section, and one address in seven hundred is so short
GROUPED = re.compile(r"\d{13,19}|\d{4}([ -])(?:\d{4}\1){2,3}\d{1,4}|\d{4}([ -])\d{6}\2\d{4,5}")
TEST_CARDS = frozenset({
    "4111111111111111", "4012888888881881", "4242424242424242", "4000056655665556",
    "5555555555554444", "5105105105105100", "5200828282828210", "2223003122003222", "378282246310005",
    "371449635398431", "6011111111111117", "6011000990139424", "30569309025904", "38520000023237", "3530111333300000",
})  # fmt: skip
API_KEY = re.compile(
    r"(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_\w{60,}|glpat-[\w-]{20,}"
    r"|xox[abeprs]-[\w-]{10,}|xapp-[\w-]{20,}|sk-(?=\S*\d)(?=\S*[A-Z])[\w-]{20,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|hf_(?=\S*[A-Z])[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*",
    re.ASCII,
)


class Found(NamedTuple):
    """Something found: in which text, from which byte to which, as what (a place in KINDS)."""

    row: int
    start: int
    end: int
    kind: int
    reserved: bool  # belongs to nobody: set aside for examples, tests or private networks


Checked = tuple[str, bool] | None  # what of a candidate it is, and whether that is reserved


def find(texts: pa.Array, kinds: frozenset[str]) -> Iterator[Found]:
    """What of some kinds stands in texts, by row and place; of two that overlap, the first and what is beyond it."""
    rows, starts, ends, codes = (column.to_numpy() for column in kernels.personal_candidates(texts))
    offsets, data = text_views(plain_text(texts))
    row, reached = -1, 0
    for k in np.lexsort((codes, -ends, starts, rows)):
        start, end, kind = int(starts[k]), int(ends[k]), KINDS[codes[k]]
        if rows[k] != row:
            row, reached = int(rows[k]), 0
        if kind not in kinds or end <= reached:
            continue
        value = data[offsets[row] + start : offsets[row] + end].tobytes().decode()
        if (checked := CHECKS[kind](value)) is None:
            continue
        end = start + len(checked[0].encode())
        if end > reached:
            yield Found(row, max(start, reached), end, int(codes[k]), checked[1])
            reached = end


def _email(value: str) -> Checked:
    local, _, domain = value.rpartition("@")
    last = domain.rpartition(".")[2]
    if len(local) > 64 or len(last) < 2 or not (last.isalpha() or last.startswith("xn--")) or FILE_NAMES.search(domain):
        return None
    return value, RESERVED_DOMAINS.fullmatch(domain.lower()) is not None


def _phone(value: str) -> Checked:
    """A North American number, or the longest beginning of an international one that is valid, cut between groups."""
    if not value.startswith("+"):
        national = re.sub(r"\D", "", value)[-10:]
        return (value, national[3:8] == "55501") if _is_north_american(national[:6]) else None
    import phonenumbers  # a tenth of a second

    for end in [len(value), *(m.start() for m in reversed(list(re.finditer(r"\D+", value))) if m.start())]:
        try:
            number = phonenumbers.parse(value[:end])
        except phonenumbers.NumberParseException:
            return None
        if phonenumbers.is_valid_number(number):
            return value[:end], number.country_code == 1 and str(number.national_number)[3:8] == "55501"
    return None


@lru_cache(1 << 16)
def _is_north_american(beginning: str) -> bool:
    """Whether numbers that begin with this area code and exchange are valid: the last four digits do not matter."""
    import phonenumbers

    return phonenumbers.is_valid_number(phonenumbers.parse(f"+1{beginning}0123"))


def _ip_address(value: str) -> Checked:
    try:
        reserved = not ipaddress.ip_address(value).is_global
    except ValueError:
        return None
    version = len(value) <= MAX_VERSION and ":" not in value and not reserved
    return None if version else (value, reserved)


def _payment_card(value: str) -> Checked:
    """The longest beginning that is a valid number, cut between groups."""
    from stdnum import luhn

    for end in [len(value), *(m.start() for m in reversed(list(re.finditer("[ -]", value))))]:
        digits = re.sub(r"\D", "", value[:end])
        if GROUPED.fullmatch(value[:end]) and ISSUED.fullmatch(digits) and luhn.is_valid(digits):
            return value[:end], digits in TEST_CARDS
    return None


def _iban(value: str) -> Checked:
    """The longest beginning that is a valid number, cut between groups."""
    from stdnum import iban

    while value:
        if iban.is_valid(value):
            return value, False
        value = value.rpartition(" ")[0]
    return None


def _ssn(value: str) -> Checked:
    area, group, serial = value.split("-")
    return value, area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000"  # never issued


def _api_key(value: str) -> Checked:
    match = API_KEY.match(value)
    return (match[0], False) if match else None


def _private_key(value: str) -> Checked:
    return value, False


CHECKS: dict[str, Callable[[str], Checked]] = dict(
    zip(KINDS, (_email, _phone, _ip_address, _payment_card, _iban, _ssn, _api_key, _private_key), strict=True)
)


@edit("personal_data", RULES)
def personal_data(texts: pa.Array, bounds: Mapping[str, Bound]) -> pa.Table:
    """Placeholders such as <EMAIL> for personal data; with `keep_reserved` among the bounds, what is reserved stays."""
    kinds = frozenset(kind for kind in KINDS if bounds[kind] is not None)
    found = [f for f in find(texts, kinds) if not (f.reserved and bounds.get("keep_reserved"))]
    codes = pa.array([f.kind for f in found], pa.int8())
    columns = (
        pa.array([f.row for f in found], pa.int64()),
        pa.array([f.start for f in found], pa.int32()),
        pa.array([f.end for f in found], pa.int32()),
        pa.array([placeholder(KINDS[f.kind]) for f in found], pa.string()),
        pa.DictionaryArray.from_arrays(codes, pa.array(KINDS, pa.string())),
    )
    return pa.Table.from_arrays(list(columns), schema=FOUND)


def placeholder(kind: str) -> str:
    """What stands in the place of personal data."""
    return f"<{kind.upper()}>"


def any_of(kinds: Sequence[str], keep_reserved: bool) -> str:
    """SQL over the signals: whether a document has personal data of some kinds, perhaps reserved ones aside."""
    left_alone = [RESERVED_COUNTS[kind] for kind in kinds if kind in RESERVED_COUNTS and keep_reserved]
    return " - ".join([" + ".join(COUNTS[kind] for kind in kinds), *left_alone]) + " > 0"


WRITES = {name: pa.int64() for name in (*COUNTS.values(), "raw_n_personal_data", *RESERVED_COUNTS.values())}


@signal(group="pii", writes=WRITES, raw=True)
def personal_data_count(texts: pa.Array) -> Columns:
    """Personal data and secrets in the raw text, those reserved for examples included.

    raw_n_emails                  e-mail addresses
    raw_n_phones                  phone numbers with + and country code, and North American ones
    raw_n_ip_addresses            IPv4 and IPv6 addresses
    raw_n_payment_cards           payment card numbers
    raw_n_ibans                   international bank account numbers
    raw_n_ssns                    US social security numbers
    raw_n_api_keys                keys and tokens of services
    raw_n_private_keys            private keys in PEM form
    raw_n_personal_data           all of these together
    raw_n_reserved_emails         those at example.com, example.org, example.net or under .example, .test and the like
    raw_n_reserved_phones         those of the form 555-01xx
    raw_n_reserved_ip_addresses   those of private networks, of the machine itself, or for documentation
    raw_n_reserved_payment_cards  numbers that payment services give out for tests
    raw_n_reserved_ssns           those that are never issued
    """
    counts = np.zeros((len(texts), len(KINDS)), dtype=np.int64)
    reserved = np.zeros_like(counts)
    for found in find(texts, frozenset(KINDS)):
        counts[found.row, found.kind] += 1
        reserved[found.row, found.kind] += found.reserved
    mask = null_mask(plain_text(texts))

    def column(values: npt.NDArray[np.int64]) -> pa.Array:
        return pa.array(values, pa.int64(), mask=mask)

    columns = {name: column(counts[:, KINDS.index(kind)]) for kind, name in COUNTS.items()}
    columns["raw_n_personal_data"] = column(counts.sum(axis=1))
    return columns | {name: column(reserved[:, KINDS.index(kind)]) for kind, name in RESERVED_COUNTS.items()}
