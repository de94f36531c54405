"""The user's block lists: words, regular expressions, sites and addresses."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import kernels
from curate.errors import RecipeError
from curate.kernels.arrow import plain_text
from curate.kernels.words_of_list import WordTable
from curate.recipe.tier1 import Block

URL = "url"  # the input column with a document's address
BEFORE_HOST = r"\s*(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?(?:[^/?#@]*@)?"
HOST = f"^{BEFORE_HOST}(?P<host>[^/:?#\\s]*)"
MAIL = r"(?i)^\s*mailto:"  # an e-mail address has no site, although it has an @


@dataclass(frozen=True)
class BlockList:
    """An entry of `tier1.block` with the content of its file."""

    reason: str
    kind: str  # words, regex or urls
    digest: str  # of the values
    values: tuple[str, ...] = field(compare=False, repr=False)  # sorted

    @property
    def column(self) -> str:
        """The column with the number of matches."""
        return f"block_{self.reason}"


def read_lists(entries: Sequence[Block]) -> tuple[BlockList, ...]:
    """Read and hash the lists of a recipe.

    Errors: RecipeError for a file that is missing or empty, an invalid regular expression, an address without site.
    """
    lists = []
    for entry in entries:
        field = f"tier1.block: {entry.reason}"
        if entry.regex is not None:
            _check_regex(entry.regex, field)
            kind, values = "regex", [entry.regex]
        elif entry.words is not None:
            kind, values = "words", _lines(entry.words, field)
        else:
            kind, values = "urls", sorted({_site(line, field) for line in _lines(entry.urls or "", field)})
        digest = hashlib.sha256("\n".join(values).encode()).hexdigest()[:32]
        lists.append(BlockList(entry.reason, kind, digest, tuple(values)))
    return tuple(lists)


def _lines(name: str, field: str) -> list[str]:
    """The distinct non-blank lines of a file, sorted."""
    try:
        lines = {line.strip() for line in Path(name).expanduser().read_text("utf-8-sig").splitlines()} - {""}
    except FileNotFoundError:
        raise RecipeError(f"{field}: {name}: no such file") from None
    except OSError as error:
        raise RecipeError(f"{field}: {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{field}: {name}: not UTF-8 text") from None
    if not lines:
        raise RecipeError(f"{field}: {name}: is empty; write one entry a line")
    return sorted(lines)


def _site(line: str, field: str) -> str:
    site = address(line)
    if site.partition("/")[0] == "":
        raise RecipeError(f"{field}: {line!r} names no site; write a domain or an address such as example.org/~joe/")
    return site


def _check_regex(pattern: str, field: str) -> None:
    try:
        matches_nothing = pc.count_substring_regex(pa.array([""]), pattern)[0].as_py()
    except pa.ArrowInvalid as error:
        problem = str(error).removeprefix("Invalid regular expression: ")
        raise RecipeError(f"{field}: {pattern!r} is not a regular expression of RE2: {problem}") from None
    if matches_nothing:
        raise RecipeError(f"{field}: {pattern!r} matches the empty text, and so every document")


def address(line: str) -> str:
    """Normalize an address: host and path, without scheme, user and port, and without a path that is only `/`."""
    if re.match(MAIL, line):
        return ""
    match = re.match(HOST, line)
    assert match is not None  # every part of it may be empty
    path = re.sub(r"^:\d*", "", line[match.end() :].rstrip())
    path = path if path.startswith("/") or not path else f"/{path}"
    return host_name(match["host"]) + ("" if path == "/" else path)


def host_name(host: str) -> str:
    """Normalize a host: lower case, Punycode (RFC 3492), no full stop at the end."""
    host = host.lower().rstrip(".")
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:  # not a valid host name
        return host


def count(block: BlockList, texts: pa.Array, urls: pa.Array | None) -> pa.Array:
    """Count the matches of a list in each text; for addresses, 1 where the document's is listed. Null for null."""
    if block.kind == "words":
        return kernels.count_listed_words(texts, _word_table(block))
    if block.kind == "regex":
        return pc.count_substring_regex(plain_text(texts), block.values[0]).cast(pa.int64())
    return _count_listed(block, urls if urls is not None else pa.nulls(len(texts), pa.string()))


@cache
def _word_table(block: BlockList) -> WordTable:
    return kernels.word_table(block.values)


@cache
def _sites(block: BlockList) -> tuple[pa.Array, dict[str, tuple[str, ...]]]:
    """Listed domains, and listed address prefixes by host."""
    domains = [value for value in block.values if "/" not in value]
    prefixes: dict[str, list[str]] = {}
    for value in block.values:
        if "/" in value:
            prefixes.setdefault(value.partition("/")[0], []).append(value)
    return pa.array(domains, pa.string()), {host: tuple(values) for host, values in prefixes.items()}


def _hosts(urls: pa.Array) -> pa.Array:
    """The normalized host of each address (see `host_name`); empty for e-mail addresses."""
    hosts = pc.struct_field(pc.extract_regex(urls, HOST), "host")
    hosts = pc.utf8_rtrim(pc.utf8_lower(hosts), ".")
    hosts = pc.if_else(pc.match_substring_regex(urls, MAIL), "", hosts)
    not_ascii = pc.invert(pc.string_is_ascii(hosts))
    if pc.any(not_ascii).as_py():
        names = pc.filter(hosts, not_ascii).to_pylist()
        hosts = pc.replace_with_mask(
            hosts, pc.fill_null(not_ascii, False), pa.array(map(host_name, names), pa.string())
        )
    return hosts


def _count_listed(block: BlockList, urls: pa.Array) -> pa.Array:
    """1 for an address with a listed domain, parent domain or prefix; else 0.

    Oracle: each host split at its full stops in Python (tests/filters/test_block.py).
    """
    domains, prefixes = _sites(block)
    urls = plain_text(urls).cast(pa.string())
    hosts = _hosts(urls)
    listed = np.zeros(len(urls), dtype=np.bool_)
    if prefixes:
        candidates = pc.is_in(hosts, pa.array(list(prefixes), pa.string())).to_numpy(zero_copy_only=False)
        for k in map(int, np.flatnonzero(candidates)):
            listed[k] = address(urls[k].as_py()).startswith(prefixes[hosts[k].as_py()])
    while len(domains) and pc.any(pc.greater(pc.binary_length(hosts), 0)).as_py():
        listed |= pc.is_in(hosts, domains).to_numpy(zero_copy_only=False)
        hosts = pc.replace_substring_regex(hosts, r"^[^.]*\.?", "")
    return pa.array(listed.astype(np.int64), mask=urls.is_null().to_numpy(zero_copy_only=False))
