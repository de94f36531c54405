"""Tokenise text into pieces: words, and the punctuation marks at their ends as separate tokens."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import inline, kernel, load_u64, part
from curate.kernels.marks import (
    ALPHA,
    ANY_STOP_WORD,
    BLANK,
    CAPITAL,
    CODE,
    CODE_BITS,
    ENDS,
    FACTS,
    FRONT,
    ICON,
    IS_CANNOT,
    IS_ENDING,
    IS_PAIR,
    IS_UNIT,
    IS_WHOLE,
    KEYS,
    LOWER,
    MARK,
    MONEY,
    MULTIPLIER,
    NUMBER,
    PUNCT,
    QUOTE,
    ROLES,
    SLOT_BITS,
    TELLING,
    WORDY,
)
from curate.kernels.unicode import ASCII_CLASS, DIGIT, LETTER, PUNCTUATION, SPACE, SYMBOL, UPPER, class_of, decode

State = npt.NDArray[np.int64]
Characters = npt.NDArray[np.int64]  # the characters of a run: role << CODE_BITS | code point

NEWLINE, EXCLAMATION, HASH, PERCENT, APOSTROPHE, STAR, PLUS, COMMA, MINUS, DOT, SLASH = map(ord, "\n!#%'*+,-./")
COLON, LESS, EQUALS, MORE, QUESTION, AT, CARET, UNDERSCORE, TILDE = map(ord, ":<=>?@^_~")
RIGHT_QUOTE, EN_DASH, EM_DASH, ELLIPSIS = 0x2019, 0x2013, 0x2014, 0x2026

NAMES = ("pieces", "word_pieces", "word_characters", "alpha_pieces", "distinct_stop_words", "hashes", "ellipses",
         "newlines", "sentences")  # fmt: skip
PIECES, WORDS, CHARACTERS, ALPHAS, STOPS, HASHES, ELLIPSES, NEWLINES, SENTENCES = range(9)
# State of the sentence splitter, in the columns after the counts. SEEN: the last token ended a sentence.
# FRESH: no token of the line has been read.
SEEN, FRESH, WIDTH = range(9, 12)
OTHER, END, MARKS_ONLY, UNKNOWN = range(4)  # kinds of tokens in sentence splitting

CANNOT = len("cannot")
BLOCK, FIELD = 2048, 12
IS_OTHER, IS_NEWLINE = 1 << FIELD, 1 << 2 * FIELD
KIND = np.full(256, IS_OTHER | 1, dtype=np.int64)
KIND[:128] = np.where(ASCII_CLASS & SPACE, 0, np.where(ASCII_CLASS & LETTER, 1, IS_OTHER | 1))
KIND[NEWLINE] = IS_NEWLINE
ALONE = np.isin(np.arange(256), [ord(c) for c in ",;:!?)"])  # after a plain word: always a separate token


def count_pieces(texts: pa.Array) -> dict[str, pa.Array]:
    """Count tokens and sentences per text, approximately as spaCy's English tokenizer and its rule-based sentencizer.

    Marks are split off a run of non-space characters one by one at both ends. The rest is split at hyphens, slashes and
    similar marks between letters, at a full stop between a lower-case letter and a capital, and at symbols. The rules
    are in docs/signals.md. A sentence ends at a token that is one of . ! ? and similar marks, and at the end of a line.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: pieces (tokens); word_pieces (tokens with a letter or digit);
            word_characters (characters in word_pieces); alpha_pieces (tokens with a letter); distinct_stop_words (how
            many of Gopher's eight occur as tokens, case-sensitive); hashes ("#"); ellipses ("..." or "…"); newlines;
            sentences.
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: lists of strings, run by run (tests/filters/signals/test_pieces.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, NAMES, _count(*text_views(texts)))


@kernel
def _count(offsets: Offsets, data: Bytes) -> Counts:
    # Two steps per block, as in `count_words`. The first records the bounds of runs and whether they contain more than
    # ASCII letters. The second handles each run; nearly all are a plain word, or a plain word and a mark.
    n = len(offsets) - 1
    counts = np.zeros((n, WIDTH), dtype=np.int64)
    bounds = np.empty(BLOCK + 2, dtype=np.int64)
    contents = np.empty(BLOCK + 2, dtype=np.int64)
    characters = np.empty(BLOCK, dtype=np.int64)
    for row in range(n):
        i, end = offsets[row], offsets[row + 1]
        out = counts[row]
        pieces = words = letters = sentences = newlines = stops = seen = np.int64(0)
        fresh = np.int64(1)
        while i < end:
            stop = min(i + BLOCK, end)
            found = content = inside = np.int64(0)
            for k in range(i, stop):
                kind = KIND[data[k]]
                bounds[found] = k
                contents[found] = content
                found += (kind & 1) ^ inside
                inside = kind & 1
                content += kind
            following = stop
            if inside and stop < end and found > 1:  # the last run crosses the block's end: leave it to the next block
                found -= 1
                following = bounds[found]
                content = contents[found]
            elif inside and stop < end:  # a single run fills the block: find its end byte by byte
                while following < end and KIND[data[following]] & 1:
                    following += 1
            if found & 1:
                bounds[found] = following
                contents[found] = content
                found += 1
            before = np.int64(0)
            for k in range(0, found, 2):
                begin, finish = bounds[k], bounds[k + 1]
                lines = (contents[k] - before) >> 2 * FIELD
                newlines += lines
                fresh |= lines > 0
                before = contents[k + 1]
                others = (before - contents[k]) >> FIELD & (1 << FIELD) - 1
                last = data[finish - 1]
                marked = np.int64(0)
                if others == 1 and finish - begin > 1:
                    if ALONE[last]:
                        marked = np.int64(1)
                    elif last == DOT and finish - begin > 2 and data[finish - 2] >= 0x61:
                        marked = np.int64(not _fact(data, begin, finish) & IS_WHOLE)
                if others == marked and finish - begin < BLOCK:
                    size = finish - begin - marked
                    pieces += 1 + marked
                    words += 1
                    letters += size
                    if size <= 4:
                        stops |= _fact(data, begin, finish - marked) & ANY_STOP_WORD
                    elif size == CANNOT and _fact(data, begin, finish - marked) & IS_CANNOT:
                        pieces += 1
                        words += 1
                    sentences += seen | fresh
                    fresh = np.int64(0)
                    seen = np.int64(marked and last in (DOT, EXCLAMATION, QUESTION))
                    continue
                if finish - begin > len(characters):
                    characters = np.empty(2 * (finish - begin), dtype=np.int64)
                out[SEEN], out[FRESH] = seen & ~fresh, fresh
                stops |= _run(data, begin, finish, characters, out)
                seen, fresh = out[SEEN], out[FRESH]
            lines = (content - before) >> 2 * FIELD
            newlines += lines
            fresh |= lines > 0
            i = following
        out[PIECES] += pieces
        out[WORDS] += words
        out[CHARACTERS] += letters
        out[ALPHAS] += words
        out[SENTENCES] += sentences
        out[NEWLINES] = newlines
        while stops:
            out[STOPS] += stops & 1
            stops >>= 1
    return counts[:, :SEEN]


@inline
def _fact(data: Bytes, begin: int, end: int) -> int:
    """The facts (bits) about data[begin:end] if it is one of the short strings of `marks.py`, else 0."""
    size = end - begin
    key = np.uint64(0)
    if size <= 8 and begin + 8 <= len(data):
        key = load_u64(data, begin) & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * size))
    elif size <= 8:
        for k in range(size):
            key |= np.uint64(data[begin + k]) << np.uint64(8 * k)
    slot = np.int64((key * MULTIPLIER) >> np.uint64(64 - SLOT_BITS))
    return FACTS[slot] if KEYS[slot] == key else np.int64(0)


@inline
def _string(characters: Characters, begin: int, end: int) -> int:
    """`_fact` for decoded characters."""
    key = np.uint64(0)
    if end - begin <= 8:
        for k in range(begin, end):
            key |= np.uint64(characters[k] & 0xFF) << np.uint64(8 * (k - begin))
            if characters[k] & CODE >= 0x80:
                key = np.uint64(0)
                break
    slot = np.int64((key * MULTIPLIER) >> np.uint64(64 - SLOT_BITS))
    return FACTS[slot] if KEYS[slot] == key else np.int64(0)


@part
def _run(data: Bytes, i: int, end: int, characters: Characters, out: State) -> int:
    """Count the tokens of a run of bytes without ASCII space, split at other white space; return its stop words."""
    n = dots = stops = together = hashes = ellipses = np.int64(0)
    while i < end:
        if data[i] < 0x80:
            code, size = np.int64(data[i]), 1
        else:
            code, size = decode(data, i, end)
        i += size
        role = np.int64(ROLES[code]) if code < 0x10000 else _role_of_high(code)
        together |= role
        hashes += code == HASH
        dots = dots + 1 if code == DOT else np.int64(0)
        ellipses += dots == 3 or code == ELLIPSIS
        dots = np.int64(0) if dots == 3 else dots
        if role & BLANK:
            stops |= _split(characters, n, together & TELLING, out)
            n = np.int64(0)
        else:
            characters[n] = role << CODE_BITS | code
            n += 1
    out[HASHES] += hashes
    out[ELLIPSES] += ellipses
    return stops | _split(characters, n, together & TELLING, out)


@part
def _role_of_high(code: int) -> int:
    bits = np.int64(class_of(code))
    if bits & LETTER:
        return np.int64(WORDY | CAPITAL) if bits & UPPER else np.int64(WORDY | LOWER)
    role = np.int64(WORDY if bits & DIGIT else 0) | np.int64(PUNCT if bits & PUNCTUATION else 0)
    return role | np.int64(MARK | ICON if bits & SYMBOL else 0)


@part
def _split(characters: Characters, end: int, telling: int, out: State) -> int:
    """Split tokens off both ends of a run of `end` characters, then split the rest; return its stop words.

    A run without `telling` characters is never one of the strings that stay whole.
    """
    # Tokens at the end are found last to first. Three variables summarise them for the sentence splitter: `first` and
    # `last`, the kinds of the first and last token that is not MARKS_ONLY, and `begun`, the sentences that begin there.
    begin = stops = begun = np.int64(0)
    first = last = np.int64(UNKNOWN)
    front = back = np.int64(1)
    while begin < end and front + back > 0 and not (telling and _string(characters, begin, end) & IS_WHOLE):
        front = _prefix(characters, begin, end)
        if front and telling and _string(characters, begin + front, end) & IS_WHOLE:
            back = np.int64(0)
        else:
            back = _suffix(characters, begin + front, end) if begin + front < end else np.int64(0)
        if back:
            kind, stop = _measure(characters, end - back, end, out)
            stops |= stop
            if kind != MARKS_ONLY:
                begun += kind == END and first == OTHER
                first = kind
                last = kind if last == UNKNOWN else last
            end -= back
            if telling and _string(characters, begin, end) & IS_WHOLE:
                break
        if front:
            stops |= _piece(characters, begin, begin + front, out)
            begin += front
    if begin < end:
        stops |= _middle(characters, begin, end, telling, out)
    out[SENTENCES] += begun + (first == OTHER and out[SEEN]) + (out[FRESH] and last != UNKNOWN)
    if last != UNKNOWN:
        out[SEEN] = last == END
    return stops


@inline
def _measure(characters: Characters, begin: int, end: int, out: State) -> tuple[int, int]:
    """Count a token; return its kind in sentence splitting, and its bit if it is a stop word."""
    together, common = np.int64(0), np.int64(-1)
    for k in range(begin, end):
        together |= characters[k]
        common &= characters[k]
    together >>= CODE_BITS
    common >>= CODE_BITS
    out[PIECES] += 1
    out[ALPHAS] += together & ALPHA != 0
    stop = np.int64(0)
    if together & WORDY:
        out[WORDS] += 1
        out[CHARACTERS] += end - begin
        if 1 < end - begin <= 4:
            stop = _string(characters, begin, end) & ANY_STOP_WORD
    kind = np.int64(MARKS_ONLY if common & PUNCT else OTHER)
    if end - begin == 1 and common & ENDS:
        kind = np.int64(END)
    return kind, stop


@part
def _piece(characters: Characters, begin: int, end: int, out: State) -> int:
    """Count a token and update the sentence splitter; return the token's bit if it is a stop word."""
    kind, stop = _measure(characters, begin, end, out)
    out[SENTENCES] += out[FRESH] | (out[SEEN] & (kind == OTHER))
    out[FRESH] = 0
    if kind != MARKS_ONLY:
        out[SEEN] = kind == END
    return stop


@inline
def _role(characters: Characters, k: int, begin: int, end: int) -> int:
    """The role of character `k`, or 0 outside of begin … end - 1."""
    return characters[k] >> CODE_BITS if begin <= k < end else np.int64(0)


@inline
def _same(characters: Characters, k: int, end: int, code: int) -> int:
    """The length of the run of `code` that begins at `k`."""
    stop = k
    while stop < end and characters[stop] & CODE == code:
        stop += 1
    return stop - k


@inline
def _prefix(characters: Characters, begin: int, end: int) -> int:
    """The number of characters to split off at the beginning as a token."""
    code, role = characters[begin] & CODE, characters[begin] >> CODE_BITS
    size = np.int64(role & (MARK | FRONT | MONEY) != 0)
    if role & PUNCT and begin + 1 < end and _string(characters, begin, begin + 2) & IS_PAIR:
        size = np.int64(2)
    if code == DOT:
        dots = _same(characters, begin, end, DOT)
        size = dots if dots > 1 else np.int64(0)
    elif code == PLUS:
        size = np.int64(_role(characters, begin + 1, begin, end) & NUMBER == 0)
    return size


@part
def _suffix(characters: Characters, begin: int, end: int) -> int:
    """The number of characters to split off at the end as a token."""
    code, role = characters[end - 1] & CODE, characters[end - 1] >> CODE_BITS
    if role & MARK:
        pair = role & PUNCT and end - begin > 1 and _string(characters, end - 2, end) & IS_PAIR
        return np.int64(2) if pair else np.int64(1)
    before = _role(characters, end - 2, begin, end)
    if code == DOT:
        start = end - 1
        while start > begin and characters[start - 1] & CODE == DOT:
            start -= 1
        if end - start > 1:
            return end - start
        sign = characters[start - 1] & CODE if start > begin else np.int64(0)
        capitals = before & _role(characters, end - 3, begin, end) & CAPITAL
        signed = sign in (PLUS, MINUS, PERCENT)
        return np.int64(signed or before & (NUMBER | LOWER | MARK) | capitals != 0)
    if (code == PLUS or role & MONEY) and before & NUMBER:
        return np.int64(1)
    if code in (0x73, 0x53) and before & QUOTE:  # 's
        quote = characters[end - 2] & CODE
        if quote in (APOSTROPHE, RIGHT_QUOTE):
            return np.int64(2)
    start = end
    while start > begin and end - start < 5 and not characters[start - 1] >> CODE_BITS & NUMBER:
        start -= 1
    if begin < start < end and characters[start - 1] >> CODE_BITS & NUMBER:
        return (end - start) * np.int64(_string(characters, start, end) & IS_UNIT != 0)
    return np.int64(0)


@part
def _middle(characters: Characters, begin: int, end: int, telling: int, out: State) -> int:
    """Split what remains between the tokens at both ends; return its stop words."""
    dots = quotes = others = np.int64(0)
    for k in range(begin, end):
        code = characters[k] & CODE
        dots += code == DOT
        quotes += code in (APOSTROPHE, RIGHT_QUOTE)
        others += characters[k] >> CODE_BITS & (ALPHA | NUMBER) == 0
    whole = telling and _string(characters, begin, end) & IS_WHOLE
    if end - begin == CANNOT and not others and _string(characters, begin, end) & IS_CANNOT:
        return _piece(characters, begin, begin + 3, out) | _piece(characters, begin + 3, end, out)
    if not others or whole or (dots and _is_address(characters, begin, end)):
        return _piece(characters, begin, end, out)
    if others == quotes:
        ending = _ending(characters, begin, end) if quotes == 1 else np.int64(0)
        stops = _piece(characters, begin, end - ending, out)
        return stops | _piece(characters, end - ending, end, out) if ending else stops
    first, k, stops = begin, begin + 1, np.int64(0)
    while k < end:
        infix = np.int64(0)
        if characters[k] >> CODE_BITS & (ALPHA | NUMBER) == 0:
            infix = _infix(characters, k, begin, end)
        if infix:
            if k > first:
                stops |= _piece(characters, first, k, out)
            stops |= _piece(characters, k, k + infix, out)
            first = k + infix
        k += max(infix, 1)
    return stops | _piece(characters, first, end, out) if first < end else stops


@part
def _infix(characters: Characters, k: int, begin: int, end: int) -> int:
    """The number of characters of the separate token at `k` within a word; 0 if there is none."""
    code = characters[k] & CODE
    before, after = _role(characters, k - 1, begin, end), _role(characters, k + 1, begin, end)
    if characters[k] >> CODE_BITS & ICON or code == ELLIPSIS:
        return np.int64(1)
    if code == DOT:
        dots = _same(characters, k, end, DOT)
        between = before & (LOWER | QUOTE) != 0 and after & (CAPITAL | QUOTE) != 0
        return dots if dots > 1 else np.int64(between)
    signed = after & NUMBER or (k + 1 < end and characters[k + 1] & CODE == MINUS)
    if signed and before & NUMBER and code in (PLUS, MINUS, STAR, CARET):
        return np.int64(1)
    if code == COMMA:
        return np.int64(before & ALPHA != 0 and after & ALPHA != 0)
    if not before & (ALPHA | NUMBER):
        return np.int64(0)
    size = np.int64(code in (EN_DASH, TILDE, COLON, LESS, EQUALS, MORE, SLASH))
    if code in (MINUS, EM_DASH):
        size = min(_same(characters, k, end, code), 3 if code == MINUS else 2)
    return size * np.int64(_role(characters, k + size, begin, end) & ALPHA != 0)


@part
def _ending(characters: Characters, begin: int, end: int) -> int:
    """The length of a contraction's ending: n't, 'll, 've, 're, 'd or 'm after ASCII letters; 0 if there is none."""
    tail = end
    while tail > begin and characters[tail - 1] >> CODE_BITS & ALPHA:
        tail -= 1
    start = tail - 1
    if end - tail == 1 and characters[tail] & CODE == 0x74 and start - begin > 1:  # n't
        start -= 1
        if characters[start] & CODE != 0x6E:
            return np.int64(0)
    elif not _string(characters, tail, end) & IS_ENDING:
        return np.int64(0)
    for k in range(begin, start):
        if characters[k] & CODE >= 0x80 or not characters[k] >> CODE_BITS & ALPHA:
            return np.int64(0)
    return end - start if start > begin else np.int64(0)


@part
def _is_address(characters: Characters, begin: int, end: int) -> bool:
    """Whether a word is a web or e-mail address: a dotted host.

    A scheme, or a user and "@", may precede the host; a port and a path may follow it.
    """
    if _is_host(characters, begin, end):
        return True
    scheme = True  # whether the characters so far may be a scheme
    for k in range(begin, end):
        code = characters[k] & CODE
        if code == AT and k > begin and _is_host(characters, k + 1, end):
            return True
        slashes = _same(characters, k + 1, end, SLASH) if scheme and code == COLON and k > begin + 1 else 0
        if slashes > 1 and _is_host(characters, k + 3, end):
            return True
        scheme &= characters[k] >> CODE_BITS & WORDY != 0 or code in (PLUS, MINUS, DOT, UNDERSCORE)
    return False


@part
def _is_host(characters: Characters, k: int, end: int) -> bool:
    """Whether a host name begins at `k`, followed by nothing but a port and a path."""
    label, labels = k, 0
    while k < end:
        code = characters[k] & CODE
        if code == DOT:
            if k == label or not (_in_host(characters[label]) and _in_host(characters[k - 1])):
                return False
            label = k + 1
            labels += 1
        elif not (_in_host(characters[k]) or code in (MINUS, UNDERSCORE)):
            break
        k += 1
    if not labels or k - label < 2:
        return False
    for j in range(label, k):
        if not 0x61 <= characters[j] & CODE <= 0x7A:
            return False
    if k < end and characters[k] & CODE == COLON:
        k += 1
        port = k
        while k < end and characters[k] >> CODE_BITS & NUMBER:
            k += 1
        if not 2 <= k - port <= 5:
            return False
    return k == end or characters[k] & CODE in (SLASH, QUESTION, HASH)


@inline
def _in_host(character: int) -> bool:
    """Whether a character is an ASCII letter or digit, or beyond ASCII."""
    return character & CODE >= 0x80 or character >> CODE_BITS & (ALPHA | NUMBER) != 0
