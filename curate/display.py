"""Numbers, values and texts of the data as people read them, fit for a terminal."""

import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

MOST_CHARACTERS = 300  # of a value

# What a terminal obeys or hides: control characters, marks of direction, tags, and spaces without a width.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def shown(value: object, digits: int = 4) -> str:
    """A value: thousands apart, so many significant digits of a fraction."""
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.{digits}g}"
    return str(value)


def share(part: float, whole: float) -> str:
    """A share in percent, with one digit; of nothing, nothing."""
    return f"{100 * part / whole:.1f}%" if whole else ""


def place(file: object, row: object) -> str:
    """Where a document lies, as `curate why` takes it: FILE:ROW, rows from 0."""
    return f"{file}:{row}"


def brief(value: object) -> str:
    """A value as it can stand in a line: not endless, and without control characters."""
    text = visible(str(value))
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def counted(count: int, what: str, many: str | None = None) -> str:
    """So many of something, as in `1 document` and `2,000 documents`."""
    return f"{count:,} {what if count == 1 else many or what + 's'}"


def visible(text: str) -> str:
    """`text` with a symbol for each character that could move a terminal's cursor, colour it or turn text around.

    Line feeds and tabs stay. ESC is shown as ␛, U+202E as ⟨202E⟩.
    """
    return UNSAFE.sub(lambda match: _symbol(ord(match[0])), text)


def _symbol(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨{code:04X}⟩"


def console() -> "Console":
    """Stdout as wide as the terminal; wide enough for any table where it is not one.

    Texts are printed as they are: `[red]` and `:smile:` are no markup, and what a terminal would obey is `visible`.
    """
    from rich.console import Console  # which `curate --help` does without
    from rich.text import Text

    class Plain(Console):
        def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - as rich declares it
            return super().render_str(visible(text), **options)

    return Plain(file=sys.stdout, width=None if sys.stdout.isatty() else 160, markup=False, emoji=False)


def json_text(value: object) -> str:
    """A value as JSON, in which all that `visible` replaces is escaped, so that it can be shown and read back."""
    import json  # which `curate --help` does without

    return safe_json(json.dumps(value, ensure_ascii=False, indent=1, default=str))


def safe_json(written: str) -> str:
    """JSON, or a part of it, with an escape for each character that `visible` would replace: the same value."""
    import json

    return UNSAFE.sub(lambda match: json.dumps(match[0])[1:-1], written)
