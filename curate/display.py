"""Numbers and values of the data as people read them."""

from curate.terminal import visible

MOST_CHARACTERS = 300  # of a value


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
