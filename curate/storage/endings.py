"""Endings of the names of files that contain documents."""

CODECS = {".gz": "gzip", ".zst": "zstd"}
JSON_LINES = tuple(f"{suffix}{codec}" for suffix in (".jsonl", ".ndjson", ".json") for codec in ("", *CODECS))
IN_FOLDERS = (".parquet", *JSON_LINES[: -1 - len(CODECS)])  # a .json file in a folder is often something else


def is_input(name: str) -> bool:
    """Whether a file in a folder is read, by its ending in upper or lower case."""
    return name.lower().endswith(IN_FOLDERS)


def is_json_lines(name: str) -> bool:
    """Whether a file is read as JSON lines, by its ending."""
    return name.lower().endswith(JSON_LINES)
