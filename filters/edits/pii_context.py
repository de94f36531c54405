"""Reject candidates of personal data whose context shows that they are something else.

Each check takes the candidate and the bytes before and after it. `pii.py` calls the check of each kind.
"""

import ipaddress
import re
from collections.abc import Callable

from curate.kernels.arrow import Bytes

CONTEXT_BYTES = 40  # on each side of a candidate
MIN_ROW_DIGITS = 3  # an adjacent number this long forms a row with the candidate
ZIP_CODE = 5  # digits
MAX_VERSION = 9  # characters: 3.8.11.1 is a version or a section; only 1 in 700 addresses is this short
MAX_MAJOR_VERSION = 150  # first number of a version
MAX_COUNTRY_CODE = 3  # digits

SPACE = rb"(?: |\xc2\xa0|\xe2\x80[\x80-\x8a\xaf])"
BEGINS = rb"(?<![\w.,])(?<!\d[-/:])(?<!\d\xe2\x80[\x90-\x93])"  # not within a word, a date or a time
NUMBER = rb"(\d{1,12}(?:,\d{3})*(?:[.,]\d+)?)"
ENDS = rb"(?!\w|[-.,/:]\d|\xe2\x80[\x90-\x93]\d)"
NUMBERS_BEFORE = re.compile(rb"(?:%b%b%b)?%b%b%b\Z" % (BEGINS, NUMBER, SPACE, BEGINS, NUMBER, SPACE))
NUMBERS_AFTER = re.compile(rb"%b%b%b(?:%b%b%b)?" % (SPACE, NUMBER, ENDS, SPACE, NUMBER, ENDS))
YEAR = re.compile(rb"%b20" % SPACE)
DIGITS_AND_SPACES = re.compile(r"[\d\s]+")

# Words before numbers with four parts, perhaps with other such numbers in between: `versions 1.2.3.4 and 1.2.3.5`.
LISTED = rb"(?:\d{1,3}(?:\.\d{1,3}){3}(?:/\d\d?|:\d+)?(?:[\s,;\"'\[\]]{1,4}|\s?-\s?)(?:and |or |to )?[\"']?){0,2}\Z"
VERSION_WORDS = (
    rb"versions?|ver|releases?|revisions?|rev|builds?|firmware|sections?|sec|chapters?|clauses?|paragraphs?|articles?"
    rb"|appendix|figures?|fig|tables?|assemblyversion|fileversion|versi[o\xc3\xb3]+n|versione|versie|wersja"
)
VERSION = re.compile(
    rb"(?:(?<![a-z])(?:%b)|%b)(?:[.:]?\s{0,3}|\s?=\s?|[\"'(>]+|[\"']?\s?[:=]\s?[\"'])%b"
    % (VERSION_WORDS, "|".join(("версия", "версии", "версию", "版本", "バージョン", "버전", "§")).encode(), LISTED),
    re.IGNORECASE,
)
PRODUCT = re.compile(
    rb"(?<![a-z])(?:[a-z]*(?:os(?: xe| x)?|java|office|reader|player|driver|kernel|linux|chrome|chromium)s?|android"
    rb"|windows|firefox|safari|edge|opera|jdk|jre|jvm|flash|acrobat|oracle|database|ubuntu|debian|sdk|app|bios|uefi"
    rb"|quicktime|itunes|skype|teams|zoom|node|node\.js|python|php|ruby|mysql|mariadb|postgres\w*|sqlite|webkit|gecko"
    rb"|trident|framework|runtime|plugin|plug-in|patch|hotfix|installer|package|library|model|edition|series|beta"
    rb"|alpha|rc|upgraded?|updated?)(?:/|\s{1,2}|-)(?:to |from )?%b" % LISTED,
    re.IGNORECASE,
)
REQUIRED = re.compile(rb"(?:[a-z\]][=~<>!^]=\s?|[~^]|>=\s?|\.so\.|[a-z]\d?-|(?<=[a-z])@)\Z", re.IGNORECASE)
HOST = re.compile(rb"(?:(?<![a-z])(?:ip|host|node|server|ec2)-|root@|ssh [^ ]*@)\Z", re.IGNORECASE)
IN_FILE = re.compile(rb"[.-](?:zip|tar|t?gz|exe|msi|dmg|deb|rpm|jar|apk|whl|dll|so|pkg|iso|rc|beta|alpha)\b")

# Context that shows that a number with four parts is an IP address.
ADDRESS_WORDS = (
    rb"nameservers?|dns|resolvers?|servers?|hosts?|hostname|ip|ips|ipv4|addr|address(?:es)?|gateway|gw|router|peer"
    rb"|neighbou?r|clients?|remote|src|dst|source|destination|ping|traceroute|nslookup|listen|bind|proxy|upstream"
    rb"|endpoint|allow|deny|permit|connect|forwarders?|inet|subnet|route|netmask|telnet|ssh|curl|wget|whois|adresse"
    rb"|serveur|direcci\xc3\xb3n|indirizzo"
)
TRAFFIC = rb"connect\w*|logins?|passwords?|requests?|packets?|traffic|received|attempts?|sessions?|user|root|attack\w*"
ADDRESS_BEFORE = re.compile(
    rb"(?:(?:(?<![a-z])(?:%b)|%b)(?:\s(?:is|of|at|was|are|such as|like|on|with|to|from)|\s-\w+(?:\s\d+)?)?"
    rb"|(?<![a-z])(?:%b)(?:\s[\w.-]+){0,2}\s(?:from|to|at|by|with)|://|(?<!\w)@|(?<![a-z])root@)"
    rb"(?:[\"']?\s{0,4}(?:==?|[:>\[({])?\s{0,3}[\"'\[({<]?)%b"
    % (
        ADDRESS_WORDS,
        "|".join(("服务器", "地址", "サーバー", "アドレス", "서버", "주소", "адрес", "сервер")).encode(),
        TRAFFIC,
        LISTED,
    ),
    re.IGNORECASE,
)
ADDRESS_AFTER = re.compile(
    rb":\d{2,5}(?![\d.])|/(?:[89]|[12]\d|3[0-2])(?![\d.])| port \d| - \S+ \[\d| (?:dev|via|netmask) [a-z0-9]"
)
HOSTS_LINE = re.compile(rb"[ \t]+(?:[a-z0-9-]+\.)+[a-z]{2,}\s", re.IGNORECASE)  # a line of /etc/hosts

PHONE_WORD = re.compile(
    rb"(?:tel|phone|telephone|fax|mobile|mob|cell|call|whatsapp|handy|telefon|telefono|%b)[^\w\n]{0,6}\Z"
    % "|".join(("téléphone", "teléfono", "телефон", "тел", "电话", "手机", "電話", "전화", "โทร", "📞")).encode(),
    re.IGNORECASE,
)
ERA = re.compile(rb"\s?(?:B\.? ?C|BCE?\b|A\.? ?D\b|CE\b|[vn]\. ?Chr|av\. ?J|a\. ?C\b|\xd0\xb4\xd0\xbe \xd0\xbd)")
UNIT = re.compile(
    rb"\s?(?:[kcmn\xc2\xb5]{0,2}[mgl]|[kMG]?Hz|px|rpm|psi|USD|EUR|people|persons|men|years|units|pieces|%%|%b)(?!\w)"
    % "€".encode()
)

LOGINS = frozenset({"git", "hg", "svn", "bzr", "gitea", "gitlab", "aur"})  # of whoever uses the service
FORGES = re.compile(
    r"(?:.*\.)?(?:git(?:hub|lab|ee|ea|ote)\.com|bitbucket\.org|codeberg\.org|ssh\.dev\.azure\.com|git\.sr\.ht|aur\.archlinux\.org)"
)
LOGIN_OF_ORGANIZATION = re.compile(r"org-\d+")
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
ADDRESS_BEGINS = re.compile(rb"(?:<|mailto:|[\"'=])\Z")


def is_no_email(value: str, text_before: Bytes, text_after: Bytes) -> bool:
    """Whether it is a call such as `W@x.to(device)`, the login of a version control service, or `后缀是@qq.com`."""
    next_byte = bytes(text_after[:1])
    local, _, domain = value.replace("%40", "@").rpartition("@")
    if next_byte == b"(":
        return True
    is_url = next_byte in (b":", b"/") or text_before.tobytes().endswith(b"://")
    if local in LOGINS and (is_url or FORGES.fullmatch(domain)):
        return True
    if LOGIN_OF_ORGANIZATION.fullmatch(local) and FORGES.fullmatch(domain):
        return True
    is_glued = UNSPACED.search(local) is not None and domain.isascii() and not domain.startswith("xn--")
    return is_glued and not ADDRESS_BEGINS.search(text_before.tobytes())


def is_no_phone(value: str, text_before: Bytes, text_after: Bytes) -> bool:
    """Whether it is a range of years or sizes, digits without a word such as "phone", or part of a row of numbers.

    A row has more groups of digits, separated by spaces: a long one, or two. A US ZIP code may precede a phone number.
    """
    if value.isdigit() and len(value) > 2 + MAX_COUNTRY_CODE and not PHONE_WORD.search(text_before.tobytes()):
        return True
    if _is_range(value, text_after.tobytes()):
        return True
    if not DIGITS_AND_SPACES.fullmatch(value):
        return False
    digits_before, second_before = _digits_before(text_before)
    digits_after, second_after = _digits_after(text_after)
    if digits_after >= MIN_ROW_DIGITS or second_before or second_after or (digits_before and digits_after):
        return True
    return digits_before >= MIN_ROW_DIGITS and digits_before != ZIP_CODE


def _is_range(value: str, text_after: bytes) -> bool:
    """Whether a value such as 800-900-1000 consists of years, or of increasing round numbers before a unit."""
    era = ERA.match(text_after)
    if not era and not UNIT.match(text_after):
        return False
    groups = [int(group) for group in re.split(r"\D+", value) if group]
    if len(groups) != 3 or "(" in value:
        return False
    a, b, c = groups
    return era is not None or (a < b < c and a % 10 == b % 10 == c % 10 == 0)


def is_no_card(value: str, text_before: Bytes, text_after: Bytes) -> bool:
    """Whether it is part of a row of numbers, as for phones. A card's month, year and check number may follow it."""
    if not DIGITS_AND_SPACES.fullmatch(value) or value.isdigit():
        return False
    digits_before, second_before = _digits_before(text_before)
    digits_after, second_after = _digits_after(text_after)
    if digits_before >= MIN_ROW_DIGITS or second_before:
        return True
    year = digits_after == 4 and YEAR.match(text_after.tobytes()) is not None and second_after <= MIN_ROW_DIGITS
    return digits_after >= MIN_ROW_DIGITS and not year and not (digits_after == MIN_ROW_DIGITS and not second_after)


def is_no_address(value: str, text_before: Bytes, text_after: Bytes) -> bool:
    """Whether it is a version or a section: by a preceding word, or because it is short and no context contradicts."""
    if ":" in value:
        return False
    left, right = text_before.tobytes(), text_after.tobytes()
    may_be_version = int(value.partition(".")[0]) <= MAX_MAJOR_VERSION
    if may_be_version and VERSION.search(left):
        return True
    is_short = len(value) <= MAX_VERSION or (may_be_version and ".0.0." in value)
    if not (is_short or may_be_version) or not ipaddress.ip_address(value).is_global:
        return False
    if is_short or PRODUCT.search(left) or REQUIRED.search(left) or IN_FILE.match(right):
        return not _is_shown_to_be_address(left, right)
    return False


def _is_shown_to_be_address(left: bytes, right: bytes) -> bool:
    """Whether the context shows that a number with four parts is an address."""
    shown_before = ADDRESS_BEFORE.search(left) or HOST.search(left)
    return bool(shown_before or ADDRESS_AFTER.match(right) or _is_hosts_line(left, right))


def _is_hosts_line(left: bytes, right: bytes) -> bool:
    return (not left or left.endswith(b"\n")) and HOSTS_LINE.match(right + b"\n") is not None


def _digits_before(text: Bytes) -> tuple[int, int]:
    """The numbers of digits of the preceding number and of the one before it; 0 for none."""
    match = NUMBERS_BEFORE.search(text.tobytes())
    return (_n_digits(match[2]), _n_digits(match[1])) if match else (0, 0)


def _digits_after(text: Bytes) -> tuple[int, int]:
    """The numbers of digits of the following number and of the one after it; 0 for none."""
    match = NUMBERS_AFTER.match(text.tobytes())
    return (_n_digits(match[1]), _n_digits(match[2])) if match else (0, 0)


def _n_digits(number: bytes | None) -> int:
    return sum(byte not in b".," for byte in number or b"")


CONTEXT_CHECKS: dict[str, Callable[[str, Bytes, Bytes], bool]] = {
    "email": is_no_email,
    "phone": is_no_phone,
    "payment_card": is_no_card,
    "ip_address": is_no_address,
}
