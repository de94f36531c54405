"""Lists that the user brings: words, a regular expression, sites and addresses."""

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

URL = "url"  # the input column with the address of a document
BEFORE_HOST = r"\s*(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?(?:[^/?#@]*@)?"
HOST = f"^{BEFORE_HOST}(?P<host>[^/:?#\\s]*)"
MAIL = r"(?i)^\s*mailto:"  # has no site: what stands before its @ is no user of one


@dataclass(frozen=True)
class BlockList:
    """An entry of `tier1.block` with what its file holds."""

    reason: str
    kind: str  # words, regex or urls
    digest: str  # of the values
    values: tuple[str, ...] = field(compare=False, repr=False)  # sorted

    @property
    def column(self) -> str:
        """The column with the number of occurrences."""
        return f"block_{self.reason}"


def read_lists(entries: Sequence[Block]) -> tuple[BlockList, ...]:
    """The lists that a recipe names, read and hashed.

    Errors: RecipeError for a file that is missing or empty, a regular expression that is none, an address without site.
    """
    found = []
    for entry in entries:
        where = f"tier1.block: {entry.reason}"
        if entry.regex is not None:
            _check_regex(entry.regex, where)
            kind, values = "regex", [entry.regex]
        elif entry.words is not None:
            kind, values = "words", _lines(entry.words, where)
        else:
            kind, values = "urls", sorted({_site(line, where) for line in _lines(entry.urls or "", where)})
        digest = hashlib.sha256("\n".join(values).encode()).hexdigest()[:32]
        found.append(BlockList(entry.reason, kind, digest, tuple(values)))
    return tuple(found)


def _lines(name: str, where: str) -> list[str]:
    """The lines of a file that are not blank, each once."""
    try:
        lines = {line.strip() for line in Path(name).expanduser().read_text("utf-8-sig").splitlines()} - {""}
    except FileNotFoundError:
        raise RecipeError(f"{where}: {name}: no such file") from None
    except OSError as error:
        raise RecipeError(f"{where}: {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{where}: {name}: not UTF-8 text") from None
    if not lines:
        raise RecipeError(f"{where}: {name}: is empty; write one entry a line")
    return sorted(lines)


def _site(line: str, where: str) -> str:
    found = address(line)
    if found.partition("/")[0] == "":
        raise RecipeError(f"{where}: {line!r} names no site; write a domain or an address such as example.org/~joe/")
    return found


def _check_regex(pattern: str, where: str) -> None:
    try:
        matches_nothing = pc.count_substring_regex(pa.array([""]), pattern)[0].as_py()
    except pa.ArrowInvalid as error:
        problem = str(error).removeprefix("Invalid regular expression: ")
        raise RecipeError(f"{where}: {pattern!r} is not a regular expression of RE2: {problem}") from None
    if matches_nothing:
        raise RecipeError(f"{where}: {pattern!r} matches the empty text, and so every document")


def address(line: str) -> str:
    """An address as it is compared: host and path, without scheme, user and port, nor a path that is `/` alone."""
    if re.match(MAIL, line):
        return ""
    match = re.match(HOST, line)
    assert match is not None  # every part of it may be empty
    path = re.sub(r"^:\d*", "", line[match.end() :].rstrip())
    path = path if path.startswith("/") or not path else f"/{path}"
    return host_name(match["host"]) + ("" if path == "/" else path)


def host_name(host: str) -> str:
    """A host as it is compared: in lower case, in Punycode (RFC 3492) and without a full stop at its end."""
    host = host.lower().rstrip(".")
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:  # no name of a host
        return host


def count(block: BlockList, texts: pa.Array, urls: pa.Array | None) -> pa.Array:
    """How often what is listed occurs in each text, or 1 where the address of a document is listed; null in null."""
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
    """Listed domains, and by host the beginnings of addresses that are listed."""
    domains = [value for value in block.values if "/" not in value]
    beginnings: dict[str, list[str]] = {}
    for value in block.values:
        if "/" in value:
            beginnings.setdefault(value.partition("/")[0], []).append(value)
    return pa.array(domains, pa.string()), {host: tuple(values) for host, values in beginnings.items()}


def _hosts(urls: pa.Array) -> pa.Array:
    """The host of each address as `host_name` has it, empty in one of mail."""
    hosts = pc.struct_field(pc.extract_regex(urls, HOST), "host")
    hosts = pc.utf8_rtrim(pc.utf8_lower(hosts), ".")
    hosts = pc.if_else(pc.match_substring_regex(urls, MAIL), "", hosts)
    other = pc.invert(pc.string_is_ascii(hosts))
    if pc.any(other).as_py():
        names = pc.filter(hosts, other).to_pylist()
        hosts = pc.replace_with_mask(hosts, pc.fill_null(other, False), pa.array(map(host_name, names), pa.string()))
    return hosts


def _count_listed(block: BlockList, urls: pa.Array) -> pa.Array:
    """1 for an address whose domain, or one above it, is listed, or that begins as a listed one; else 0.

    Oracle: each host split at its full stops in Python (tests/filters/test_block.py).
    """
    domains, beginnings = _sites(block)
    urls = plain_text(urls).cast(pa.string())
    hosts = _hosts(urls)
    found = np.zeros(len(urls), dtype=np.bool_)
    if beginnings:
        perhaps = pc.is_in(hosts, pa.array(list(beginnings), pa.string())).to_numpy(zero_copy_only=False)
        for k in map(int, np.flatnonzero(perhaps)):
            found[k] = address(urls[k].as_py()).startswith(beginnings[hosts[k].as_py()])
    while len(domains) and pc.any(pc.greater(pc.binary_length(hosts), 0)).as_py():
        found |= pc.is_in(hosts, domains).to_numpy(zero_copy_only=False)
        hosts = pc.replace_substring_regex(hosts, r"^[^.]*\.?", "")
    return pa.array(found.astype(np.int64), mask=urls.is_null().to_numpy(zero_copy_only=False))
