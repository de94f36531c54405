"""Arrow's types as the Hugging Face Hub writes them in a card: `dataset_info.features`."""

import re
from collections.abc import Sequence

import pyarrow as pa

from curate.manifests.schema.model import SchemaField

# Arrow types that the Hub names differently; the types of PLAIN have the same name in both.
RENAMED = {
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
    "date32[day]": "date32",
    "date64[ms]": "date64",
}
PLAIN = re.compile(
    r"(large_)?string|(large_)?binary|bool|null|u?int(8|16|32|64)|float(16|32|64)|date(32|64)"
    r"|(timestamp|duration|time32|time64)\[.+\]|decimal(128|256)\(\d+, ?-?\d+\)"
)
READ_FROM_JSON = (  # types that `datasets` keeps when it reads JSON lines
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_null,
    pa.types.is_date,
    pa.types.is_timestamp,
)

Feature = dict[str, object]  # as YAML has it


def features_of(columns: Sequence[SchemaField]) -> list[Feature] | None:
    """The features of a manifest's columns; None where the Hub has no type for one of them."""
    features = []
    for column in columns:
        if (kind := _kind(column)) is None:
            return None
        features.append({"name": column.name, **kind})
    return features


def _kind(column: SchemaField) -> Feature | None:
    """The type of a column by the Hub's key for it: dtype, struct, list or large_list."""
    kind = re.sub(r"^dictionary<values=([^,]+),.*", r"\1", column.type)
    kind = RENAMED.get(kind, kind)
    if PLAIN.fullmatch(kind):
        return {"dtype": kind}
    inner = column.fields or []
    if kind.startswith("struct"):
        features = features_of(inner)
        return None if features is None else {"struct": features}
    listed = re.match(r"(fixed_size_list|large_list|list)<", kind)
    if not listed or (item := _kind(inner[0])) is None or "length" in item:  # datasets writes it, but cannot read it
        return None
    key = "large_list" if listed[1] == "large_list" else "list"
    feature: Feature = {key: next(iter(item.values())) if {"dtype", "struct"} & item.keys() else item}
    if listed[1] == "fixed_size_list":
        feature["length"] = int(kind[kind.rindex("[") + 1 : -1])
    return feature


def without_maps(kind: pa.DataType) -> pa.DataType:
    """The same type with each map, which the Hub has no type for, as a list of {key, value}."""
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
    """The type that `datasets` can give to values of this type in JSON lines, as formats/jsonl.py writes them.

    JSON has numbers, truth values and strings; `datasets` casts strings to dates and timestamps only.
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
    return kind if any(is_kind(kind) for is_kind in READ_FROM_JSON) else pa.string()


def _pair(key: pa.DataType, value: pa.DataType) -> pa.DataType:
    return pa.struct([("key", key), ("value", value)])
