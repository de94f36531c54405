"""What stands before and behind a candidate of personal data, and whether it shows the candidate to be something else.

Each check has the candidate, the bytes before it and the bytes behind; `pii.py` asks those of its kind.
"""

import ipaddress
import re
from collections.abc import Callable

from curate.kernels.arrow import Bytes

NEAR = 40  # bytes before and behind a candidate that are looked at
LONG = 3  # digits from which on a number beside another one makes a row with it
ZIP_CODE = 5  # digits
MAX_VERSION = 9  # characters: 3.8.11.1 is a version or a section, and one address in seven hundred is so short
NEWEST = 150  # the first number of a version is hardly larger
MAX_COUNTRY_CODE = 3  # digits

SPACE = rb"(?: |\xc2\xa0|\xe2\x80[\x80-\x8a\xaf])"
BEGINS = rb"(?<![\w.,])(?<!\d[-/:])(?<!\d\xe2\x80[\x90-\x93])"  # no part of a word, a date or a time
NUMBER = rb"(\d{1,12}(?:,\d{3})*(?:[.,]\d+)?)"
ENDS = rb"(?!\w|[-.,/:]\d|\xe2\x80[\x90-\x93]\d)"
BEFORE = re.compile(rb"(?:%b%b%b)?%b%b%b\Z" % (BEGINS, NUMBER, SPACE, BEGINS, NUMBER, SPACE))
BEHIND = re.compile(rb"%b%b%b(?:%b%b%b)?" % (SPACE, NUMBER, ENDS, SPACE, NUMBER, ENDS))
YEAR = re.compile(rb"%b20" % SPACE)
SPACED = re.compile(r"[\d\s]+")

# Words before numbers with four parts. Further such numbers may stand between: `versions 1.2.3.4 and 1.2.3.5`.
LISTED = rb"(?:\d{1,3}(?:\.\d{1,3}){3}(?:/\d\d?|:\d+)?(?:[\s,;\"'\[\]]{1,4}|\s?-\s?)(?:and |or |to )?[\"']?){0,2}\Z"
NUMBERED = (
    rb"versions?|ver|releases?|revisions?|rev|builds?|firmware|sections?|sec|chapters?|clauses?|paragraphs?|articles?"
    rb"|appendix|figures?|fig|tables?|assemblyversion|fileversion|versi[o\xc3\xb3]+n|versione|versie|wersja"
)
VERSION = re.compile(
    rb"(?:(?<![a-z])(?:%b)|%b)(?:[.:]?\s{0,3}|\s?=\s?|[\"'(>]+|[\"']?\s?[:=]\s?[\"'])%b"
    % (NUMBERED, "|".join(("версия", "версии", "версию", "版本", "バージョン", "버전", "§")).encode(), LISTED),
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

# What shows a number with four parts to be an address of the internet.
ADDRESSED = (
    rb"nameservers?|dns|resolvers?|servers?|hosts?|hostname|ip|ips|ipv4|addr|address(?:es)?|gateway|gw|router|peer"
    rb"|neighbou?r|clients?|remote|src|dst|source|destination|ping|traceroute|nslookup|listen|bind|proxy|upstream"
    rb"|endpoint|allow|deny|permit|connect|forwarders?|inet|subnet|route|netmask|telnet|ssh|curl|wget|whois|adresse"
    rb"|serveur|direcci\xc3\xb3n|indirizzo"
)
WENT = rb"connect\w*|logins?|passwords?|requests?|packets?|traffic|received|attempts?|sessions?|user|root|attack\w*"
PLAIN = re.compile(
    rb"(?:(?:(?<![a-z])(?:%b)|%b)(?:\s(?:is|of|at|was|are|such as|like|on|with|to|from)|\s-\w+(?:\s\d+)?)?"
    rb"|(?<![a-z])(?:%b)(?:\s[\w.-]+){0,2}\s(?:from|to|at|by|with)|://|(?<!\w)@|(?<![a-z])root@)"
    rb"(?:[\"']?\s{0,4}(?:==?|[:>\[({])?\s{0,3}[\"'\[({<]?)%b"
    % (
        ADDRESSED,
        "|".join(("服务器", "地址", "サーバー", "アドレス", "서버", "주소", "адрес", "сервер")).encode(),
        WENT,
        LISTED,
    ),
    re.IGNORECASE,
)
USED = re.compile(
    rb":\d{2,5}(?![\d.])|/(?:[89]|[12]\d|3[0-2])(?![\d.])| port \d| - \S+ \[\d| (?:dev|via|netmask) [a-z0-9]"
)
OF_HOSTS = re.compile(rb"[ \t]+(?:[a-z0-9-]+\.)+[a-z]{2,}\s", re.IGNORECASE)  # a line of /etc/hosts

CALLED = re.compile(
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


def is_no_email(value: str, before: Bytes, behind: Bytes) -> bool:
    """Whether it is a call such as `W@x.to(device)`, the login of a version control, or `后缀是@qq.com`."""
    first = bytes(behind[:1])
    local, _, domain = value.replace("%40", "@").rpartition("@")
    if first == b"(":
        return True
    if local in LOGINS and (first in (b":", b"/") or before.tobytes().endswith(b"://") or FORGES.fullmatch(domain)):
        return True
    if LOGIN_OF_ORGANIZATION.fullmatch(local) and FORGES.fullmatch(domain):
        return True
    glued = UNSPACED.search(local) is not None and domain.isascii() and not domain.startswith("xn--")
    return glued and not ADDRESS_BEGINS.search(before.tobytes())


def is_no_phone(value: str, before: Bytes, behind: Bytes) -> bool:
    """Whether it is a range of years or sizes, digits without a word that says what they are, or part of a row.

    A row has further groups of digits, parted by spaces: a long one, or two. A US ZIP code may stand before a number.
    """
    if value.isdigit() and len(value) > 2 + MAX_COUNTRY_CODE and not CALLED.search(before.tobytes()):
        return True
    if _is_range(value, behind.tobytes()):
        return True
    if not SPACED.fullmatch(value):
        return False
    one_before, two_before = _before(before)
    one_behind, two_behind = _behind(behind)
    if one_behind >= LONG or two_before or two_behind or (one_before and one_behind):
        return True
    return one_before >= LONG and one_before != ZIP_CODE


def _is_range(value: str, behind: bytes) -> bool:
    """Whether a value such as 800-900-1000 is a row of years, or of growing round numbers before a unit."""
    era = ERA.match(behind)
    if not era and not UNIT.match(behind):
        return False
    groups = [int(group) for group in re.split(r"\D+", value) if group]
    if len(groups) != 3 or "(" in value:
        return False
    a, b, c = groups
    return era is not None or (a < b < c and a % 10 == b % 10 == c % 10 == 0)


def is_no_card(value: str, before: Bytes, behind: Bytes) -> bool:
    """As in a phone's row, but that behind a card its month, year and check number may stand."""
    if not SPACED.fullmatch(value) or value.isdigit():
        return False
    one_before, two_before = _before(before)
    one_behind, two_behind = _behind(behind)
    if one_before >= LONG or two_before:
        return True
    year = one_behind == 4 and YEAR.match(behind.tobytes()) is not None and two_behind <= LONG
    return one_behind >= LONG and not year and not (one_behind == LONG and not two_behind)


def is_no_address(value: str, before: Bytes, behind: Bytes) -> bool:
    """Whether it is a version or a section, by a word before it; a short one is, if no word says otherwise."""
    if ":" in value:
        return False
    left, right = before.tobytes(), behind.tobytes()
    old = int(value.partition(".")[0]) <= NEWEST
    if old and VERSION.search(left):
        return True
    short = len(value) <= MAX_VERSION or (old and ".0.0." in value)
    if not (short or old) or not ipaddress.ip_address(value).is_global:
        return False
    if short or PRODUCT.search(left) or REQUIRED.search(left) or IN_FILE.match(right):
        return not _is_shown(left, right)
    return False


def _is_shown(left: bytes, right: bytes) -> bool:
    """Whether a word before a number, or what follows it, shows it to be an address."""
    return bool(PLAIN.search(left) or USED.match(right) or HOST.search(left) or _of_hosts(left, right))


def _of_hosts(left: bytes, right: bytes) -> bool:
    return (not left or left.endswith(b"\n")) and OF_HOSTS.match(right + b"\n") is not None


def _before(text: Bytes) -> tuple[int, int]:
    """Digits of the number before, and of that before it; 0 for none."""
    match = BEFORE.search(text.tobytes())
    return (_n_digits(match[2]), _n_digits(match[1])) if match else (0, 0)


def _behind(text: Bytes) -> tuple[int, int]:
    """Digits of the number behind, and of that behind it; 0 for none."""
    match = BEHIND.match(text.tobytes())
    return (_n_digits(match[1]), _n_digits(match[2])) if match else (0, 0)


def _n_digits(number: bytes | None) -> int:
    return sum(byte not in b".," for byte in number or b"")


AMONG: dict[str, Callable[[str, Bytes, Bytes], bool]] = {
    "email": is_no_email,
    "phone": is_no_phone,
    "payment_card": is_no_card,
    "ip_address": is_no_address,
}
