"""Types of recipe values that may be written in more than one way."""

import math
import re
from collections.abc import Sized
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationInfo, WithJsonSchema

Items = TypeVar("Items", bound=Sized)
Unit = Literal["tokens", "bytes"]  # that a budget is counted in
SIZE = r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B?\s*"
TOKENS = r"\s*(\d+(?:\.\d+)?)\s*([kMB]?)\s*"
BYTES = r"\s*(\d+(?:\.\d+)?)\s*(?:([kKMGT])(i?)B)?\s*"  # in a budget; `20M` and `20B` are tokens
SHARE = r"\s*\d+(\.\d+)?\s*%\s*"
PROPER_SHARE = r"\s*(?=[\d.]*[1-9])\d{1,2}(\.\d+)?\s*%\s*"  # more than 0, less than 100 %


def parse_size(value: object) -> object:
    """Bytes from a number or from text like 10MB (decimal) or 64MiB (binary)."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(SIZE, value)
    if match is None:
        raise ValueError(f"{value!r} is not a size; write bytes, or a number with kB, MB, GB, KiB, MiB, GiB")
    number, unit, binary = match.groups()
    return _whole(float(number) * (1024 if binary else 1000) ** "_KMGT".index(unit.upper() or "_"))


def _whole(number: float) -> int:
    """A number without its fraction.

    Errors: ValueError for one with hundreds of digits, which is infinite as a float.
    """
    if math.isinf(number):
        raise ValueError("is larger than anything that can be counted")
    return int(number)


def parse_share(value: object) -> object:
    """A share like 15% as a fraction; numbers stay unchanged."""
    if isinstance(value, str) and value.strip().endswith("%"):
        return float(value.strip()[:-1]) / 100
    return value


def not_empty(value: Items) -> Items:
    """Refuse an empty list or mapping."""
    if not len(value):
        raise ValueError("is empty; name at least one")
    return value


def _or_text(number: dict[str, object], pattern: str, example: str) -> WithJsonSchema:
    """The JSON schema of a number that may be written as text."""
    text = {"type": "string", "pattern": f"^{pattern}$", "description": f"as in {example}"}
    return WithJsonSchema({"anyOf": [number, text]})


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0, lt=2**63),
    _or_text({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 2**63}, SIZE, "10MB or 64MiB"),
]
Share = Annotated[
    float | int,
    BeforeValidator(parse_share),
    Field(ge=0),
    _or_text({"type": "number", "minimum": 0}, SHARE, "15%"),
]
ProperShare = Annotated[
    float,
    BeforeValidator(parse_share),
    Field(gt=0, lt=1),
    _or_text({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, PROPER_SHARE, "5%"),
]


def parse_tokens(value: object) -> object:
    """A number of tokens from text like 700k or 20B; numbers stay unchanged."""
    if not isinstance(value, str):
        return value
    if (match := re.fullmatch(TOKENS, value)) is None:
        raise ValueError(f"{value!r} is no number of tokens; write one such as 700k, 20M or 10B")
    return _whole(float(match[1]) * 1000 ** "_kMB".index(match[2] or "_"))


def parse_budget(value: object) -> object:
    """A budget: a share like 15% as a fraction, or a number of tokens like 2M or 20B; numbers stay unchanged."""
    if isinstance(value, str) and not re.fullmatch(f"{SHARE}|{TOKENS}", value):
        if re.fullmatch(BYTES, value):
            raise ValueError(f"{value!r} is a size in bytes, and keep_tokens counts tokens; write 15% or 20M")
        raise ValueError(f"{value!r} is neither a share nor a number of tokens; write 15%, 700k, 20M or 10B")
    return parse_share(value) if isinstance(value, str) and "%" in value else parse_tokens(value)


def parse_byte_budget(value: object) -> object:
    """A budget in bytes: a share like 15% as a fraction, or a size like 500MB or 2GiB; numbers stay unchanged."""
    if isinstance(value, str) and not re.fullmatch(f"{SHARE}|{BYTES}", value):
        if re.fullmatch(TOKENS, value):
            raise ValueError(f"{value!r} is a number of tokens, and keep_bytes counts bytes; write 15% or 500MB")
        raise ValueError(f"{value!r} is neither a share nor a size in bytes; write 15%, 500MB or 2GB")
    return parse_share(value) if isinstance(value, str) and "%" in value else parse_size(value)


def parse_rung(value: object, info: ValidationInfo) -> object:
    """A rung of `ladder`, in the unit of the budget: bytes with keep_bytes, else tokens."""
    return parse_budget(value) if info.data.get("keep_bytes") is None else parse_byte_budget(value)


def check_budget(value: float) -> float:
    """Refuse a number that is neither a share nor a whole number."""
    if value > 1 and value != int(value):
        raise ValueError("is neither a share, of at most 100%, nor a whole number; write 15% or 2000000")
    return value


MIN_BUDGET = 1000  # tokens or bytes; a smaller budget is more likely a share without its %


def check_not_small(name: str, value: float, unit: Unit) -> None:
    """Refuse a budget so small that a share was probably meant."""
    if 1 < value < MIN_BUDGET:
        share = f"; did you mean {value:.6g}%?" if value <= 100 else ""
        raise ValueError(
            f"{name}: {format_budget(value, unit)}{share} "
            f"(a budget under {MIN_BUDGET:,} {unit} needs allow_small: true)"
        )


def format_budget(value: float, unit: Unit) -> str:
    """A budget as text for messages."""
    return f"{value:,.0f} {unit}" if value > 1 else f"{value * 100:.6g}%"


Budget = Annotated[
    float | int,
    BeforeValidator(parse_budget),
    Field(gt=0),
    AfterValidator(check_budget),
    _or_text({"type": "number", "exclusiveMinimum": 0}, f"({SHARE}|{TOKENS})", "15% or 20M"),
]
ByteBudget = Annotated[
    float | int,
    BeforeValidator(parse_byte_budget),
    Field(gt=0, lt=2**63),
    AfterValidator(check_budget),
    _or_text({"type": "number", "exclusiveMinimum": 0}, f"({SHARE}|{BYTES})", "15% or 2GB"),
]
Rung = Annotated[
    float | int,
    BeforeValidator(parse_rung),
    Field(gt=0),
    AfterValidator(check_budget),
    _or_text(
        {"type": "number", "exclusiveMinimum": 0}, f"({SHARE}|{TOKENS}|{BYTES})", "5%, 20M, or 2GB with keep_bytes"
    ),
]


Tokens = Annotated[
    float | int,
    BeforeValidator(parse_tokens),
    Field(ge=1),
    AfterValidator(check_budget),
    _or_text({"type": "number", "minimum": 1}, TOKENS, "20M or 10B"),
]


FalseDrop = Annotated[
    float,
    BeforeValidator(parse_share),
    Field(gt=0, lt=0.5),
    _or_text({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}, r"\s*[0-4]?\d(\.\d+)?\s*%\s*", "2%"),
]


def parse_action(value: object) -> object:
    """An action on personal data; YAML reads a bare `off` as false."""
    return "off" if value is False else value


def parse_codes(value: object) -> object:
    """Language codes in a list or mapping; YAML reads a bare `no`, Norwegian, as false."""
    if isinstance(value, list):
        return ["no" if code is False else code for code in value]
    if isinstance(value, dict):  # its keys are text by now
        return {"no" if code == "false" else code: bound for code, bound in value.items()}
    return value


def parse_pii(value: object) -> object:
    """A bare action as the mapping that it abbreviates."""
    return {"action": value} if isinstance(value, str | bool) else value


def parse_switch(value: object) -> object:
    """An empty section for true, which has its defaults; None for false."""
    return {} if value is True else None if value is False else value


def switch(section: type[BaseModel]) -> BeforeValidator:
    """Accept true for a section with its defaults, and false for null."""
    return BeforeValidator(parse_switch, json_schema_input_type=section | bool | None)


PersonalKind = Literal["email", "phone", "ip_address", "payment_card", "iban", "ssn", "api_key", "private_key"]
PersonalAction = Annotated[Literal["redact", "drop", "count", "off"], BeforeValidator(parse_action)]
