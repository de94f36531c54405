"""Columns: types of text and chats, fields within structs, and how types are unified."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}  # pyarrow cannot take rows of views
# How a column of another type becomes text: bytes as UTF-8, a list of strings with a line for each.
UTF8, LINES = "utf8", "lines"


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type is text without a cast."""
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type is bytes, which may be UTF-8."""
    types = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return kind == pa.binary_view() or any(is_kind(kind) for is_kind in types)


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type is lists, of a fixed size or not."""
    return any(is_kind(kind) for is_kind in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def is_messages(kind: pa.DataType) -> bool:
    """Whether a column of this type is chats: lists of structs with the texts role and content."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(kind.value_type):
        return False
    message = kind.value_type
    return all(message.get_field_index(n) >= 0 and is_text(message.field(n).type) for n in ("role", "content"))


def render_messages(column: pa.Array) -> pa.Array:
    """Chats as text to measure: the contents of the messages, separated by blank lines; null for null."""
    return join_strings(column, column.values.field("content"), "\n\n")


def join_strings(lists: pa.Array, values: pa.Array, separator: str) -> pa.Array:
    """The strings of each list joined to one text, with null strings as empty; null for a null list."""
    contents = values.fill_null("").cast(pa.large_string())
    listed = pa.LargeListArray.from_arrays(lists.offsets.cast(pa.int64()), contents)
    texts = pc.binary_join(listed, pa.scalar(separator, pa.large_string()))
    return pc.if_else(lists.is_valid(), texts, pa.scalar(None, texts.type))


def text_cast(kind: pa.DataType) -> str | None:
    """How a column of another type is read as text; None where it cannot be."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_bytes(kind):
        return UTF8
    return LINES if is_list(kind) and is_text(plain(kind.value_type)) else None


def leaf_type(schema: Sequence[pa.Field] | pa.Schema, path: str) -> pa.DataType | None:
    """The type of a field within structs, as in doc.text; None where there is no such field."""
    for field in schema:
        if path.startswith(f"{field.name}.") and pa.types.is_struct(field.type):
            inner_path = path[len(field.name) + 1 :]
            inner = list(field.type)
            kind = next((f.type for f in inner if f.name == inner_path), None) or leaf_type(inner, inner_path)
            if kind is not None:
                return kind
    return None


def without_leaf(field: pa.Field, path: str) -> pa.Field | None:
    """A column without the field at a path; unchanged where it has no such field, None where no field remains."""
    if leaf_type([field], path) is None:
        return field
    inner_path = path[len(field.name) + 1 :]
    inner = [None if f.name == inner_path else without_leaf(f, inner_path) for f in field.type]
    remaining = [f for f in inner if f is not None]
    return pa.field(field.name, pa.struct(remaining)) if remaining else None


def take_leaf(column: pa.Array, name: str, path: str) -> pa.Array:
    """The values of a field within a column of structs; null where an outer struct is null."""
    inner_path = path[len(name) + 1 :]
    while inner_path:
        fields = [column.type.field(k).name for k in range(column.type.num_fields)]
        candidates = ((k, field) for k, field in enumerate(fields) if f"{inner_path}.".startswith(f"{field}."))
        k, field = max(candidates, key=lambda candidate: len(candidate[1]))
        column, inner_path = pc.struct_field(column, [k]), inner_path[len(field) + 1 :]
    return column


def fit_struct(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of structs with only the fields of another struct type."""
    if not pa.types.is_struct(kind):
        return column
    names = [kind.field(k).name for k in range(kind.num_fields)]
    children = [fit_struct(column.field(name), kind.field(name).type) for name in names]
    return pa.StructArray.from_arrays(
        children, fields=[pa.field(n, c.type) for n, c in zip(names, children, strict=True)], mask=column.is_null()
    )


def plain(kind: pa.DataType) -> pa.DataType:
    """The type in which a column is processed: without dictionaries and views, also within lists and structs."""
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain(field.type)) for field in kind])
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(plain(kind.value_type)))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(plain(kind.value_type)))
    return VIEWS.get(kind, kind)


def wider(a: pa.DataType, b: pa.DataType, inferred: bool) -> pa.DataType | None:
    """The type for all values of two plain types, also within lists, maps and structs; None where there is none.

    Integers and floats become 64-bit floats only if the integers have at most 32 bits or types are `inferred`. Of two
    units of time the finer one is used.
    """
    if a == b or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    if pa.types.is_nested(a) or pa.types.is_nested(b):
        return _wider_nested(a, b, inferred)
    if pa.types.is_floating(a) != pa.types.is_floating(b):
        number = b if pa.types.is_floating(a) else a
        fits = pa.types.is_integer(number) and (number.bit_width <= 32 or inferred)
        return pa.float64() if fits else None
    pair = [pa.schema([("x", a)]), pa.schema([("x", b)])]
    try:
        kind: pa.DataType = pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None
    return kind if _holds_integers(kind, a) and _holds_integers(kind, b) else None


def _holds_integers(kind: pa.DataType, part: pa.DataType) -> bool:
    """Whether a type can represent all values of `part`, if that is an integer type."""
    if not pa.types.is_integer(part):
        return True
    if pa.types.is_decimal(kind):
        largest = 2 ** (part.bit_width - pa.types.is_signed_integer(part))
        return bool(kind.precision - kind.scale >= len(str(largest)))
    return bool(part != pa.uint64() or kind == part)


def _wider_nested(a: pa.DataType, b: pa.DataType, inferred: bool) -> pa.DataType | None:
    """`wider` of two types of which one or both are nested."""
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        names = [[field.name for field in kind] for kind in (a, b)]
        if any(len(set(fields)) < len(fields) for fields in names):
            return None
        shared = {f.name: _wider_field(f, b.field(f.name), inferred) for f in a if f.name in names[1]}
        fields = [shared[f.name] if f.name in shared else f.with_nullable(True) for f in a]
        fields += [f.with_nullable(True) for f in b if f.name not in names[0]]
        return None if any(field is None for field in fields) else pa.struct(fields)
    if pa.types.is_map(a) and pa.types.is_map(b):
        key, item = _wider_field(a.key_field, b.key_field, inferred), _wider_field(a.item_field, b.item_field, inferred)
        return None if key is None or item is None else pa.map_(key, item)
    if not (is_list(a) and is_list(b)):
        return None
    value = _wider_field(a.value_field, b.value_field, inferred)
    if value is None:
        return None
    if pa.types.is_large_list(a) or pa.types.is_large_list(b):
        return pa.large_list(value)
    sizes = {kind.list_size if pa.types.is_fixed_size_list(kind) else -1 for kind in (a, b)}
    return pa.list_(value, sizes.pop() if len(sizes) == 1 else -1)


def _wider_field(a: pa.Field, b: pa.Field, inferred: bool) -> pa.Field | None:
    """The field for all values of two, with the name of the first; None where their types do not fit."""
    kind = wider(a.type, b.type, inferred)
    return None if kind is None else a.with_type(kind).with_nullable(a.nullable or b.nullable)
