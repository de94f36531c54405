"""Arrow's types as the Hugging Face Hub writes them in a card: `dataset_info.features`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

# Names of Arrow's types that the Hub has other names for; those below stand for themselves.
RENAMED = {"halffloat": "float16", "float": "float32", "double": "float64", "date32[day]": "date32",
           "date64[ms]": "date64"}  # fmt: skip
PLAIN = re.compile(
    r"(large_)?string|(large_)?binary|bool|null|u?int(8|16|32|64)|float(16|32|64)|date(32|64)"
    r"|(timestamp|duration|time32|time64)\[.+\]|decimal(128|256)\(\d+, ?-?\d+\)"
)


def features_of(columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """The features of columns as the manifest tells them; None where one has a type that the Hub does not know."""
    features = [_feature(column) for column in columns]
    return None if None in features else [one for one in features if one is not None]


def _feature(column: Mapping[str, Any]) -> dict[str, Any] | None:
    found = _kind(column)
    return None if found is None else {"name": column["name"], **found}


def _kind(column: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a column is, by the key that the Hub has for it: dtype, struct, list or large_list."""
    kind = re.sub(r"^dictionary<values=([^,]+),.*", r"\1", column["type"])
    kind = RENAMED.get(kind, kind)
    if PLAIN.fullmatch(kind):
        return {"dtype": kind}
    inside = column.get("fields") or []
    if kind.startswith("struct"):
        features = features_of(inside)
        return None if features is None else {"struct": features}
    listed = re.match(r"(fixed_size_list|large_list|list)<", kind)
    if not listed or (of := _kind(inside[0])) is None or "length" in of:  # which datasets writes, and cannot read
        return None
    key = "large_list" if listed[1] == "large_list" else "list"
    found: dict[str, Any] = {key: next(iter(of.values())) if {"dtype", "struct"} & of.keys() else of}
    if listed[1] == "fixed_size_list":
        found["length"] = int(kind[kind.rindex("[") + 1 : -1])
    return found


def without_maps(kind: pa.DataType) -> pa.DataType:
    """The same type with each map, for which the Hub has none, as a list of {key, value}."""
    if pa.types.is_map(kind):
        return pa.list_(_pair(without_maps(kind.key_type), without_maps(kind.item_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(without_maps(field.type)) for field in kind])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(without_maps(kind.value_type), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(without_maps(kind.value_type))
    return pa.list_(without_maps(kind.value_type)) if pa.types.is_list(kind) else kind


def in_json(kind: pa.DataType) -> pa.DataType:
    """The type that `datasets` can give to values of this type in lines of JSON, as formats/jsonl.py writes them.

    JSON holds numbers, truth values and strings; `datasets` casts strings to dates and timestamps, to nothing else.
    """
    if pa.types.is_map(kind):
        return pa.list_(_pair(in_json(kind.key_type), in_json(kind.item_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(in_json(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(in_json(kind.value_type))
    if pa.types.is_dictionary(kind):
        return in_json(kind.value_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    kept = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null, pa.types.is_date,
            pa.types.is_timestamp)  # fmt: skip
    return kind if any(is_kind(kind) for is_kind in kept) else pa.string()


def _pair(key: pa.DataType, value: pa.DataType) -> pa.DataType:
    return pa.struct([("key", key), ("value", value)])
