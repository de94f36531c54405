"""Numbers, values and texts of the data in readable form, safe for a terminal; values as JSON."""

import re
import sys
from collections.abc import Collection
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rich.console import Console

MAX_CHARACTERS = 300  # of a value

# Characters that a terminal interprets or hides: control characters, marks of direction, tags, zero-width spaces.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def shown(value: object, digits: int = 4) -> str:
    """A value with thousands separated, and fractions in so many significant digits."""
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.{digits}g}"
    return str(value)


def share(part: float, whole: float) -> str:
    """A share in percent, with one digit; an empty text where `whole` is zero."""
    return f"{100 * part / whole:.1f}%" if whole else ""


def place(file: object, row: object) -> str:
    """The address of a document, as `curate why` takes it: FILE:ROW, rows from 0."""
    return f"{file}:{row}"


def brief(value: object) -> str:
    """A value for one line: cut if it is long, and without control characters."""
    text = visible(str(value))
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun, as in `1 document` and `2,000 documents`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def visible(text: str) -> str:
    """`text` with a symbol for each character that could move a terminal's cursor, colour it or reverse text.

    Line feeds and tabs stay. ESC is shown as ␛, U+202E as ⟨202E⟩.
    """
    return UNSAFE.sub(lambda match: _symbol(ord(match[0])), text)


def _symbol(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨{code:04X}⟩"


def console() -> "Console":
    """Stdout, as wide as the terminal, or 160 columns where it is not one.

    Texts are printed literally: `[red]` and `:smile:` are not markup, and control characters are made `visible`.
    """
    from rich.console import Console  # which `curate --help` does without
    from rich.text import Text

    class Plain(Console):
        def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - as rich declares it
            return super().render_str(visible(text), **options)

    return Plain(file=sys.stdout, width=None if sys.stdout.isatty() else 160, markup=False, emoji=False)


def json_text(value: object) -> str:
    """A value as JSON, in which each character that `visible` replaces is escaped: safe to show, and the same value.

    A dataclass is an object of its fields, unless it has a method `to_json`.
    """
    import json  # which `curate --help` does without

    return safe_json(json.dumps(value, ensure_ascii=False, indent=1, default=_json_value))


def _json_value(value: object) -> object:
    """The JSON value of an object that JSON has no type for."""
    if is_dataclass(value) and not isinstance(value, type):
        to_json = getattr(value, "to_json", None)
        return fields_of(value) if to_json is None else to_json()
    return str(value)


def fields_of(record: "DataclassInstance", optional: Collection[str] = ()) -> dict[str, object]:
    """The fields of a dataclass by name; those in `optional` only where they are not None."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: value for name, value in values.items() if value is not None or name not in optional}


def safe_json(written: str) -> str:
    """JSON, or a part of it, with an escape for each character that `visible` replaces: the same value."""
    import json

    return UNSAFE.sub(lambda match: json.dumps(match[0])[1:-1], written)
