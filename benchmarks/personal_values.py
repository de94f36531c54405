"""Invented personal data in the forms in which it is written: each function draws one value."""

import base64
import ipaddress
import string
from collections.abc import Callable
from functools import cache
from random import Random

import phonenumbers
from phonenumbers import PhoneNumberFormat
from stdnum import iban, luhn

Draw = Callable[[Random], str]

ALNUM = string.ascii_letters + string.digits
BASE64 = ALNUM + "+/"
URL_SAFE = ALNUM + "-_"
FIRST = ("anna", "li", "tom", "sofia", "omar", "priya", "jean-luc", "kwame", "ingrid", "hiro", "maria-jose", "yusuf")
LAST = ("novak", "okafor", "mueller", "rossi", "tanaka", "haddad", "lindqvist", "oneill", "costa", "petrov")
HOSTS = (
    "mail",
    "orchard",
    "blueharbor",
    "northwind-labs",
    "kestrel",
    "tinyforge",
    "lumen7",
    "riverbend",
    "openfield",
    "quarry",
)
TOP_LEVEL = ("com", "net", "org", "io", "de", "fr", "co.uk", "com.br", "ac.jp", "edu", "gov.au", "technology", "museum")
ADDRESSES_BEYOND_ASCII = (
    "jürgen.groß@müller-söhne.de", "почта@пример.рф", "иван.петров@компания.рус", "δοκιμή@παράδειγμα.ευ",
    "用户@例子.公司", "张伟@测试网.中国", "客服2@公司名.网络", "山田@会社名.コム", "이메일@회사.한국",
    "डाक@उदाहरण.भारत", "संपर्क@कंपनी.भारत", "מידע@דוגמה.קום", "info@例え.コム", "sales@商店.公司", "josé@niño.es",
    "contact@xn--fsqu00a.xn--55qx5d", "li.wei@公司名.cn",
)  # fmt: skip
LENGTH_OF_IBAN = {"DE": 22, "GB": 22, "FR": 27, "NL": 18, "PL": 28, "CH": 21, "AT": 20, "SE": 24, "IE": 22, "NO": 15}
LETTERS_OF_IBAN = {"GB": 4, "NL": 4, "IE": 4}  # that its bank's code has
CARDS = (("4", 16), ("51", 16), ("2221", 16), ("6011", 16), ("34", 15), ("37", 15), ("36", 14), ("35", 16))


def letters(random: Random, alphabet: str, n: int) -> str:
    """So many letters of an alphabet."""
    return "".join(random.choices(alphabet, k=n))


def email(random: Random) -> str:
    """An address in Latin letters."""
    first, last, n = random.choice(FIRST), random.choice(LAST), random.randrange(1950, 2020)
    local = random.choice(
        [f"{first}.{last}", f"{first[0]}{last}", f"{last}_{n}", f"{first}+lists", f"{first}{n % 100}"]
    )
    return f"{local}@{random.choice(HOSTS)}.{random.choice(TOP_LEVEL)}"


def email_in_url(random: Random) -> str:
    """An address as it stands in a query."""
    return email(random).replace("+", ".").replace("@", "%40")


def email_beyond_ascii(random: Random) -> str:
    """An address with letters of another script, or its Punycode."""
    return random.choice(ADDRESSES_BEYOND_ASCII)


@cache
def _regions() -> tuple[str, ...]:
    return ("GB", "DE", "FR", "IN", "JP", "CN", "BR", "ZA", "SE", "PL", "MX", "AU", "IT", "ES")


def _number(random: Random, region: str) -> phonenumbers.PhoneNumber:
    """A number that phonenumbers says is valid there: an example with other digits behind."""
    kind = random.choice([phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE])
    example = phonenumbers.example_number_for_type(region, kind) or phonenumbers.example_number(region)
    assert example is not None
    national = phonenumbers.national_significant_number(example)
    while True:
        number = phonenumbers.parse(f"+{example.country_code}{national[:-5]}{letters(random, string.digits, 5)}")
        if phonenumbers.is_valid_number(number):
            return number


def _international(random: Random) -> str:
    return phonenumbers.format_number(_number(random, random.choice(_regions())), PhoneNumberFormat.INTERNATIONAL)


def phone(random: Random) -> str:
    """A number with + and its country code."""
    written = _international(random)
    return random.choice(
        [written, written, written.replace(" ", "-"), written.replace(" ", "."), written.replace(" ", "")]
    )


def phone_by_prefix(random: Random) -> str:
    """A number with 00 or 001 in the place of +, grouped."""
    if random.random() < 0.25:
        return "00" + random.choice(["1 {} {} {}", "1-{}-{}-{}"]).format(*_north_american(random))
    written = "00" + _international(random)[1:]
    return random.choice([written, written.replace(" ", "-"), written.replace(" ", ".")])


def _north_american(random: Random) -> tuple[str, str, str]:
    area, exchange = random.choice(["212", "312", "415", "617", "206", "404"]), str(random.randrange(201, 1000))
    number = phonenumbers.parse(f"+1{area}{exchange}0000")
    valid = phonenumbers.is_valid_number(number)
    return (area, exchange, letters(random, string.digits, 4)) if valid else ("212", "736", "5000")


def phone_north_american(random: Random) -> str:
    """A number without a country code, as it is written in North America."""
    form = random.choice(["{}-{}-{}", "({}) {}-{}", "{}.{}.{}", "{} {} {}", "1-{}-{}-{}", "({}){}-{}"])
    return form.format(*_north_american(random))


def ipv4(random: Random) -> str:
    """A public address of ten characters or more."""
    while True:
        address = ipaddress.IPv4Address(random.randrange(1 << 24, 224 << 24))
        if address.is_global and len(str(address)) > 9 and ".0.0." not in str(address):
            return str(address)


def ipv4_short(random: Random) -> str:
    """A public address that looks like a version."""
    known = ["8.8.8.8", "8.8.4.4", "1.1.1.1", "9.9.9.9", "1.0.0.1", "4.2.2.1", "13.0.0.100", "77.8.8.1"]
    while True:
        drawn = ".".join(str(random.randrange(1, 100)) for _ in range(4))
        address = random.choice([*known, drawn])
        if ipaddress.ip_address(address).is_global and (len(address) <= 9 or ".0.0." in address):
            return address


def ipv6(random: Random) -> str:
    """A global address, written short."""
    return ipaddress.IPv6Address((0x2A00 + random.randrange(512) << 112) | random.getrandbits(64)).compressed


def _card_digits(random: Random) -> str:
    prefix, n = random.choice(CARDS)
    digits = prefix + letters(random, string.digits, n - len(prefix) - 1)
    return digits + luhn.calc_check_digit(digits)


def card(random: Random) -> str:
    """A card's number, as it is printed or in one piece."""
    digits = _card_digits(random)
    if random.random() < 0.4:
        return digits
    cuts = (4, 8, 12) if len(digits) == 16 else (4, 10)
    gap = random.choice([" ", " ", "-", "\u00a0"])
    return gap.join(digits[a:b] for a, b in zip((0, *cuts), (*cuts, len(digits)), strict=True))


def bank_account(random: Random) -> str:
    """An IBAN that python-stdnum says is valid."""
    while True:
        country = random.choice(sorted(LENGTH_OF_IBAN))
        n = LETTERS_OF_IBAN.get(country, 0)
        digits = letters(random, string.digits, LENGTH_OF_IBAN[country] - 4 - n)
        account = letters(random, string.ascii_uppercase, n) + digits
        whole = country + iban.calc_check_digits(f"{country}00{account}") + account
        if iban.is_valid(whole):
            groups = [whole[k : k + 4] for k in range(0, len(whole), 4)]
            return random.choice([whole, " ".join(groups), " ".join(groups), "-".join(groups), whole.lower()])


def ssn(random: Random) -> str:
    """A US social security number that may have been issued."""
    area = random.choice([n for n in range(1, 900) if n != 666])
    return random.choice(["{:03}-{:02}-{:04}", "{:03}-{:02}-{:04}", "{:03}\u2011{:02}\u2011{:04}"]).format(
        area, random.randrange(1, 100), random.randrange(1, 10_000)
    )


def _token(prefix: str, alphabet: str, n: int) -> Draw:
    return lambda random: prefix + letters(random, alphabet, n)


def _in_base64(text: str, padded: bool) -> str:
    encoded = base64.urlsafe_b64encode(text.encode()).decode()
    return encoded if padded else encoded.rstrip("=")


def jwt(random: Random) -> str:
    """A JSON web token, whose JSON may have spaces and newlines, and its parts padding."""
    space, newline, padded = random.choice([("", "", False), (" ", " ", False), (" ", "\n  ", False), (" ", "", True)])
    subject = letters(random, string.digits, 10)
    header = f'{{{newline}"alg":{space}"HS256",{newline}"typ":{space}"JWT"{newline[:1]}}}'
    payload = f'{{{newline}"sub":{space}"{subject}",{newline}"admin":{space}true{newline[:1]}}}'
    return ".".join([_in_base64(header, padded), _in_base64(payload, padded), letters(random, URL_SAFE, 43)])


def slack_rotated(random: Random) -> str:
    """A Slack token that expires, or the one that refreshes it."""
    body = letters(random, ALNUM, 146)
    return random.choice([f"xoxe.xoxp-1-{body}", f"xoxe.xoxb-1-{body}", f"xoxe-1-{body}"])


def _mixed(random: Random, n: int) -> str:
    """Letters and digits, at least one digit and one capital, as in every real key of that length."""
    while True:
        drawn = letters(random, ALNUM, n)
        if any(c.isdigit() for c in drawn) and any(c.isupper() for c in drawn):
            return drawn


API_KEYS: tuple[Draw, ...] = (
    _token("AKIA", string.ascii_uppercase + "234567", 16),
    _token("AIza", URL_SAFE, 35),
    _token("ghp_", ALNUM, 36),
    lambda random: f"github_pat_{letters(random, ALNUM, 22)}_{letters(random, ALNUM, 59)}",
    _token("glpat-", ALNUM, 20),
    lambda random: f"xoxb-{letters(random, string.digits, 12)}-{letters(random, ALNUM, 24)}",
    slack_rotated,
    slack_rotated,
    lambda random: "sk-" + _mixed(random, 48),
    lambda random: f"sk-proj-{_mixed(random, 74)}T3BlbkFJ{_mixed(random, 74)}",
    lambda random: f"sk-ant-api03-{letters(random, URL_SAFE, 93)}AA",
    lambda random: "sk-or-v1-" + letters(random, "0123456789abcdef", 64),
    lambda random: "sk_live_" + letters(random, ALNUM, 24),
    lambda random: "hf_" + _mixed(random, 34),
    _token("npm_", ALNUM, 36),
    _token("GOCSPX-", URL_SAFE, 28),
    _token("GOCSPX-", URL_SAFE, 28),
    lambda random: f"SG.{letters(random, ALNUM, 22)}.{letters(random, ALNUM, 43)}",
    _token("gsk_", ALNUM, 52),
    _token("dop_v1_", "0123456789abcdef", 64),
    jwt,
    jwt,
    jwt,
)


def api_key(random: Random) -> str:
    """A key or token of a service."""
    return random.choice(API_KEYS)(random)


def pem(random: Random) -> list[str]:
    """A private key in PEM form, by lines."""
    label = random.choice(["RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "PRIVATE KEY"])
    lines = [letters(random, BASE64, 64) for _ in range(random.randrange(2, 12))] + [letters(random, BASE64, 26) + "=="]
    headers = ["Proc-Type: 4,ENCRYPTED", f"DEK-Info: AES-128-CBC,{letters(random, '0123456789ABCDEF', 32)}", ""]
    headers = headers if label.startswith("RSA") and random.random() < 0.3 else []
    return [f"-----BEGIN {label}-----", *headers, *lines, f"-----END {label}-----"]


def private_key(random: Random) -> str:
    r"""A whole key, by lines or with `\n` in their place."""
    return random.choice(["\n", "\n", "\\n", "\r\n"]).join(pem(random))


def private_key_behind_marks(random: Random) -> str:
    """A key indented or commented, line by line."""
    mark = random.choice(["    ", "\t", "# ", "// ", "; ", "-- ", "% ", "> ", " * ", "REM ", "|", "#"])
    return f"\n{mark}".join(line for line in pem(random) if line)


def private_key_cut(random: Random) -> str:
    """A key that lost its end, its beginning, or lines in the middle."""
    lines = [line for line in pem(random) if ":" not in line and line]
    middle = [*lines[:2], random.choice(["...", "[...]", "…", "<snip>"]), *lines[-3:]]
    return "\n".join(random.choice([lines[:-1], lines[1:], lines[2:], middle]))


FORMS: dict[str, tuple[Draw, ...]] = {
    "email": (email, email, email_in_url, email_beyond_ascii),
    "phone": (phone, phone_by_prefix, phone_north_american),
    "ip_address": (ipv4, ipv4_short, ipv6),
    "payment_card": (card,),
    "iban": (bank_account,),
    "ssn": (ssn,),
    "api_key": (api_key,),
    "private_key": (private_key, private_key_behind_marks, private_key_cut),
}
