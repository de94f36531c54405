"""Values of the recipe that may be written in more than one way."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

SIZE = r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B?\s*"
SHARE = r"\s*\d+(\.\d+)?\s*%\s*"


def parse_size(value: object) -> object:
    """Bytes from a number or from text like 10MB (decimal) or 64MiB (binary)."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(SIZE, value)
    if match is None:
        raise ValueError(f"{value!r} is not a size; write bytes, or a number with kB, MB, GB, KiB, MiB, GiB")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** "_KMGT".index(unit.upper() or "_"))


def parse_share(value: object) -> object:
    """A share like 15% as a fraction; numbers stay what they are."""
    if isinstance(value, str) and value.strip().endswith("%"):
        return float(value.strip()[:-1]) / 100
    return value


def not_empty(value: list[Any]) -> list[Any]:
    """Refuse an empty list."""
    if not value:
        raise ValueError("is empty; name at least one")
    return value


def _or_text(number: dict[str, Any], pattern: str, example: str) -> WithJsonSchema:
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


def parse_action(value: object) -> object:
    """An action on personal data; YAML reads a bare `off` as false."""
    return "off" if value is False else value


def parse_codes(value: object) -> object:
    """Codes of languages in a list or mapping; YAML reads a bare `no`, Norwegian, as false."""
    if isinstance(value, list):
        return ["no" if code is False else code for code in value]
    if isinstance(value, dict):  # whose keys are text by now
        return {"no" if code == "false" else code: bound for code, bound in value.items()}
    return value


def parse_pii(value: object) -> object:
    """An action alone as the mapping that it stands for."""
    return {"action": value} if isinstance(value, str | bool) else value


PersonalKind = Literal["email", "phone", "ip_address", "payment_card", "iban", "ssn", "api_key", "private_key"]
PersonalAction = Annotated[Literal["redact", "drop", "count", "off"], BeforeValidator(parse_action)]
