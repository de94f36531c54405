"""Numbers and values of the data as people read them."""

MOST_CHARACTERS = 300  # of a value

# What a program would not show, or take for a command: control characters as their pictures.
PICTURES = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}


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
    return f"{100 * part / whole:.1f}\u202f%" if whole else ""


def brief(value: object) -> str:
    """A value as it can stand in a line: not endless, and without control characters."""
    text = str(value).translate(PICTURES)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
