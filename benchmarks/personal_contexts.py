"""What personal data stands in, and what only looks like it: invented sentences, code, logs and configuration."""

import string
from collections.abc import Callable
from random import Random

from personal_values import ALNUM, BASE64, URL_SAFE, letters

Draw = Callable[[Random], str]

# Each pair has a context for tuning and another for the report.
ANYWHERE = (
    ("Write to us at {} and we will answer.", "You can reach the office under {} during the week."),
    ("Bitte wenden Sie sich an {}, wenn etwas unklar ist.", "Die Angabe lautet {} und gilt weiterhin."),
    ("Vous pouvez utiliser {} dès demain.", "Il avait noté « {} » dans son carnet."),
    ("Se puede usar {} a partir del lunes.", "Anotó ({}) en la última página."),
    ("Данные: {}, проверено вчера.", "В письме было указано {} и ничего больше."),
    ('{{"id": 7, "value": "{}", "ok": true}}', '[{{"k":"{}"}},{{"k":null}}]'),
    ("contact: {}\nname: test\n", "profile:\n  - value: '{}'\n    kind: main\n"),
    ("name;value;n\nwest;{};4\n", "a,{},b\n"),
    ('<td class="c">{}</td><td>x</td>', "<p><b>{}</b></p>"),
    ("* **Contact** {}\n* Place: west wing", "| field | {} | note |\n|---|---|---|"),
    ('value = "{}"  # from the form', "const value = '{}';"),
    ("2024-03-01T10:20:30Z INFO form saved value={} user=7", "[error] rejected value: {} (line 44)"),
)
BESIDE_CJK = (
    ("请记下{}谢谢", "资料是{}，请核对。"),
    ("ご連絡は{}まで", "番号：{}です"),
    ("연락처：{}입니다", "정보（{}）확인"),
    ("โทร.{} ได้เลย", "ข้อมูลคือ{}ครับ"),
)
OF_KIND = {
    "email": (("邮箱：{}，谢谢", "邮箱 {} 已登记"), ("mailto:{}", "<{}>"), ("From: A. Person <{}>", "Cc: {}\n")),
    "phone": (("Tel: {}", "Telefon {}"), ("Fax {} or by post", "call {} now"), ('href="tel:{}"', "📞 {}")),
    "iban": (
        ("IBAN{}", "IBAN: {}"),
        ("账号{}，户名王", "账户：{}的"),
        ("iban_{}", "IBAN_{} BIC X"),
        ("Konto-{}", "IBAN-{}"),
    ),
    "payment_card": (("Visa {} 12/27", "card no. {}, exp. 08/29"), ("卡号{}", "カード番号{}です")),
    "ssn": (("SSN {}", "SSN: {}"), ("ssn={};", "social security number {}.")),
    "api_key": (("export TOKEN={}", 'api_key: "{}"'), ("Authorization: Bearer {}", "curl -H 'x-api-key: {}'")),
}
OF_SHORT_ADDRESS = (
    ("nameserver {}", "  dns-server {}"),
    ("dig @{} kestrel.io", "ping -c 3 {}"),
    ("connect to {}:8080 failed", "listening on {}:53"),
    ("http://{}/index.html", "curl https://{}/dns-query"),
    ("allow {}/32;", "route add -net {}/24"),
    ('{} - - [10/Oct/2023:13:55:36 +0000] "GET / HTTP/1.0" 200 23', '{} - bob [01/Jan/2024:00:00:01 +0000] "POST /"'),
    ("sshd[811]: Failed password for root from {} port 4022 ssh2", "Accepted connection from {}"),
    ('"ip": "{}", "n": 3', "remote_addr={} status=200"),
    ("server {};", "host = {}"),
    ("SRC={} DST=77.88.55.242", "src_ip: {}"),
    ("DNS={}", "forwarders {{ {}; }};"),
    ("Public DNS resolvers such as {} answer fast.", "The IP address {} belongs to a resolver."),
)
KEY_BLOCKS = (
    ("{}\n", "key:\n{}\n\nOrdinary prose follows.\n"),
    ("cat > id_rsa\n{}\nEOF", "```\n{}\n```\n"),
    ("<pre>{}</pre>", "ssh_key: |\n  {}\nname: x\n"),
    ('"private_key": "{}",', "KEY='{}'"),
)


def contexts_of(kind: str, form: Draw, value: str) -> list[tuple[str, str]]:
    """The pairs of contexts that a value may stand in."""
    if kind == "private_key":
        return list(KEY_BLOCKS)
    if form.__name__ == "ipv4_short":
        return list(OF_SHORT_ADDRESS)
    pairs = [*ANYWHERE, *OF_KIND.get(kind, ())]
    return [*pairs, *BESIDE_CJK] if value.isascii() else pairs


def _pick(*texts: str) -> Draw:
    return lambda random: random.choice(texts)


def _version(random: Random) -> str:
    product = random.choice(
        [
            "Android",
            "iOS",
            "Chrome",
            "Firefox",
            "macOS",
            "Java",
            "Windows",
            "Acrobat Reader",
            "Flash Player",
            "the SDK",
            "NVIDIA driver",
            "FortiOS",
            "Oracle Database",
            "QuickTime",
            "BIOS",
            "Skype",
            "kernel",
            "Node",
        ]
    )
    second = random.choice([0, 0, 1, 2, 12])
    number = f"{random.randrange(5, 120)}.{second}.{random.randrange(3)}.{random.randrange(256)}"
    return random.choice([f"{product} {number} fixes this", f"Update {product} to {number}.", f"{product}/{number}"])


def _version_in_code(random: Random) -> str:
    number = f"{random.randrange(11, 99)}.{random.randrange(40)}.{random.randrange(40)}.{random.randrange(100, 256)}"
    form = random.choice(
        [
            "version: {}",
            '"version": "{}"',
            "<Version>{}</Version>",
            "foo=={}",
            "bar>={},<99",
            "v{}",
            "release-{}",
            'AssemblyVersion("{}")',
            "libfoo.so.{}",
            "foo-{}.tar.gz",
            "setup-{}.exe",
            "foo_{}_amd64.deb",
            "版本 {}",
            "Version={}, Culture=neutral",
            "versions {0} and {0}",
            "build {}",
            "firmware {}",
            "foo@{}",
            "^{}",
        ]
    )
    return form.format(number)


def _section(random: Random) -> str:
    number = f"{random.randrange(1, 9)}.{random.randrange(1, 20)}.{random.randrange(1, 20)}.{random.randrange(1, 9)}"
    return random.choice(["see {}", "Section {}", "{} Overview", "as in {} above", "Table {}", "§ {}"]).format(number)


def _years(random: Random) -> str:
    a, b, c = *sorted(random.sample(range(2, 10), 2)), 10
    era = random.choice(["BC", "BCE", "B.C.", "AD", "CE", "v. Chr.", "av. J.-C.", "mm", "kg", "people", "Hz", "USD"])
    return random.choice(["about {}00-{}00-{}00 {}", "{}00-{}00-{}00 {}"]).format(a, b, c, era)


def _no_phone(random: Random) -> str:
    d = [letters(random, string.digits, n) for n in (3, 3, 4, 2, 5)]
    form = random.choice(
        [
            "order 00{0}{1}{2}",
            "ISBN 978-{3}-{1}-{4}-1",
            "2023-{3}-{3} 10:{3}",
            "lot 0{0}-{1}-{2}",
            "+{0}",
            "n = {2}{1}{0}",
            "row {0} 312 555 2310 {1}",
            "id: 0000{0}{2}",
            "1{3}-{0}-{1}",
            "001-{0}",
            "{0}/{1}/{2}",
            "x+{4}{2}y",
            "a+{3}b",
        ]
    )
    return form.format(*d)


def _hex_dump(random: Random) -> str:
    return "0x0040: " + " ".join(letters(random, "0123456789abcdef", 2) for _ in range(16))


GIT = (
    "git clone git@github.com:acme/tool.git",
    "origin\tgit@gitlab.com:a/b.git (fetch)",
    "url = git@bitbucket.org:x/y.git",
    "ssh://git@codeberg.org/a/b.git",
    "git+ssh://git@github.com/a/b@v1",
    "ssh -T git@github.com",
    "git remote add up git@git.kestrel.io:z.git",
    '"repository": "git@github.com:a/b"',
    "hg clone ssh://hg@bitbucket.org/a",
    "org-1234567@github.com:acme/tool.git",
    "git@ssh.dev.azure.com:v3/a/b/c",
    "[me](git@github.com:a/b.git)",
    "submodule = git@gitee.com:a/b.git",
)
NO_ADDRESS = (
    "x@main.java",
    "npm i lodash@4.17.21",
    "@media screen { a { color: red } }",
    "W@x.shape",
    "icon@2x.png",
    "https://medium.com/@joe.smith/a",
    "user@host",
    "a @ b.com",
    "@property.setter",
    "uses: actions/checkout@v4.1.0",
    "关注@张三.李四",
    "后缀是@qq.com",
    "邮箱后缀必须是@163.com结尾",
    "感谢@小明",
    "conda@env.yaml",
    "getty@tty1.service",
    "A@B.mean()",
    "image: nginx@sha256:0123",
    "jane at example dot com",
    "@types/node@18.0.0",
    "foo@1.2.3.tgz",
    "如@所.示",
    "转发@新华社。报道",
    "@Override.public",
)
CSS = (
    "cube-grid",
    "fading-circle",
    "folding-cube",
    "chasing-dots",
    "three-bounce",
    "wandering-cubes",
    "rotating-plane",
)


def _css(random: Random) -> str:
    name, n = random.choice(CSS), random.randrange(1, 13)
    camel = name.title().replace("-", "")
    return random.choice(
        [
            f".sk-{name} .sk-{name}-item{n}:before {{ color: #FFF0{n}; }}",
            f'<div class="sk-{name}-Container-{n}-Large">',
            f".sk-{name}__wrapper--Active{n} {{}}",
            f"sk-{camel}SpinnerWrapper{n}",
            f".sk-{camel}-Dot{n}-Before-Animation2",
            f"@keyframes sk-{name}-delay-{n}00ms-Ease-In-Out",
            f".sk-{name}{n}{{animation:sk-{name}Delay 1.{n}s Infinite}}",
            f"--sk-color-Primary-{n}00-hover-Background: #A1B2C3",
            f"className='sk-Toggleable__content-{name}-{n}'",
        ]
    )


def _no_key(random: Random) -> str:
    base, hexed = letters(random, BASE64, 60), letters(random, "0123456789abcdef", 40)
    return random.choice(
        [
            "AKIA-Regalwand, AKIA",
            "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 in Models",
            f"sha1-{hexed}",
            f"commit {hexed}",
            f"data:image/png;base64,{base}",
            "eyJust.eyJump.eyJoke",
            "SG.1.2",
            "npm_config_registry=https://x.io",
            "ghp_",
            "sk-learn-contrib-and-Friends-2024-edition",
            "xoxe.",
            "GOCSPX-",
            "glpat-<your token here>",
            "sk-SK, sk-Latn-SK",
            "sk_live_xxxxx",
            "eyJ is how a token begins",
            "sk-YOUR-API-KEY-GOES-HERE",
            "task-force-of-Twenty-20-nations",
        ]
    )


def _no_pem(random: Random) -> str:
    lines = "\n".join(letters(random, BASE64, 64) for _ in range(3))
    label = random.choice(["CERTIFICATE", "PUBLIC KEY", "PGP SIGNATURE", "PGP PUBLIC KEY BLOCK", "CERTIFICATE REQUEST"])
    return random.choice(
        [
            f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----",
            "It begins with -----BEGIN PRIVATE KEY----- as a rule.",
            "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----",
            "the line -----END RSA PRIVATE KEY----- ends it",
            "-----BEGIN PRIVATE KEY-----\n<your key>\n-----END PRIVATE KEY-----",
            f"----- MIME\n{lines}\n-----",
            f"{lines}\nis base64 of a picture.\n-----BEGIN CERTIFICATE-----",
            'if text.startswith("-----BEGIN PRIVATE KEY-----"):',
            f"-----BEGIN {label}-----\n{lines}",
        ]
    )


def _no_card(random: Random) -> str:
    d = [letters(random, string.digits, 4) for _ in range(4)]
    return random.choice(
        [
            "order 9{}{}{}{}",
            "{} {} {} {} 2310 17",
            "0.4{}{}{}{}",
            "uuid 0{}-{}-{}-{}",
            "1{}{}{}{}",
            "{}, {}, {}, {}",
            "tracking 1Z{}{}{}{}",
            "{}{}{}{}A",
            "seq {} {} {}",
            "7{}{}{}{}",
            "8{} {} {} {} 11 12",
        ]
    ).format(*d)


def _no_iban(random: Random) -> str:
    digits = letters(random, string.digits, 18)
    return random.choice(
        [
            f"XX89{digits}",
            f"VIN WDB{letters(random, ALNUM, 14)}",
            f"SN DE00{digits}",
            f"ref AB12 {digits[:4]} {digits[4:8]}",
            f"part no. GB2{digits[:6]}",
            f"RFC{digits}",
            f"US12{digits}",
            f"id FR{digits[:12]}",
            f"key {letters(random, URL_SAFE, 30)}",
            f"ISIN US0378331005 and DE000{digits[:7]}",
            f"IBANQ99{digits}",
            f"IBAN: {digits}",
        ]
    )


def _no_ssn(random: Random) -> str:
    a, b, c = (letters(random, string.digits, n) for n in (3, 2, 4))
    return random.choice(
        [
            "{0} {1} {2}",
            "1{0}-{1}-{2}",
            "{0}-{1}-{2}5",
            "{0}{1}{2}",
            "{0}-{1}-{2}-{1}",
            "{2}-{1}-{1}",
            "{0}.{1}.{2}",
            "part A{0}-{1}-{2}",
            "{0}-{1}-{2}B",
            "{0}/{1}/{2}",
            "{0}-{1}",
            "{1}-{0}-{2}",
        ]
    ).format(a, b, c)


def _no_ip(random: Random) -> str:
    a, b = random.randrange(1, 9), random.randrange(10, 99)
    return random.choice(
        [
            "12:30:45",
            "std::vector<int>",
            "a[::2]",
            "08:00:2b:01:02:03",
            "256.{1}.{1}.{1}",
            "1.2.3.4.5",
            "John 3:16-18",
            "{0}.{1}.{0}",
            "00:1a:2b:3c:4d:5e:6f:70",
            "dead::beef",
            "{1},{1}.{1}",
            "Class::method",
            "192.168.01.100",
            "10.{1}.{1}",
        ]
    ).format(a, b)


LOOK_ALIKES: dict[str, tuple[Draw, ...]] = {
    "email": (_pick(*GIT), _pick(*NO_ADDRESS)),
    "phone": (_years, _no_phone, _hex_dump),
    "ip_address": (_version, _version_in_code, _section, _no_ip),
    "payment_card": (_no_card,),
    "iban": (_no_iban,),
    "ssn": (_no_ssn,),
    "api_key": (_css, _css, _no_key),
    "private_key": (_no_pem,),
}
AROUND = (
    ("{}", "{}"),
    ("It says {} here.", "Note: {}"),
    ("# {}", "// {}"),
    ("见 {} 。", "（{}）"),
    ("- {}\n", "> {}\n"),
)
