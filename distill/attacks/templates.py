r"""Generate sentences from small grammars (distill/text/phrases/*.yaml) whose slots are filled with a document's words.

A grammar maps names to templates, one per line. In a template, `{name}` expands to one of the templates of that name or
one of the words given for it. `{^name}` capitalizes the first letter, `{*name}` that of every word, and `{!name}` all.
`{#10-99}` is a number in that range, `[one|another|]` is one of the alternatives, and `\n` is a line break.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from curate.distill.text.phrases import phrases

TOKEN = re.compile(r"\{[^{}\s]+\}|[\[\]|]|[^{}\[\]|]+|[{}]")
SPACE = re.compile(r" +(?=[ ,.?!\n])")  # superfluous: before another space, punctuation or a line break
ARTICLE = re.compile(r"\b([Aa])n? ([A-Za-z]+)")
VOWEL = re.compile(r"(?!(?i:uni|use|usu|one|once|eu))[AEIOUaeiou]|hour|honest")
MAX_DEPTH = 12  # a grammar that nests deeper refers to itself


@dataclass(frozen=True)
class Slot:
    """A placeholder for one of several texts. `form` is its capitalization: "^", "*", "!", or "" for none."""

    name: str
    form: str


@dataclass(frozen=True)
class Number:
    """A placeholder for a number, both bounds included."""

    low: int
    high: int


@dataclass(frozen=True)
class Choice:
    """Alternative templates."""

    options: "tuple[Template, ...]"


Template = tuple[str | Slot | Number | Choice, ...]
Grammar = Mapping[str, Sequence[Template]]
Slots = Mapping[str, Sequence[str]]  # the words given for a name


@cache
def grammar(name: str) -> Grammar:
    """The grammar in phrases/`name`.yaml."""
    templates = phrases(name).items()
    return {key: tuple(parse(line.replace("\\n", "\n")) for line in lines.splitlines()) for key, lines in templates}


def parse(template: str) -> Template:
    """Parse a template. Brackets without a bar inside are literal text."""
    return _parse_tokens(iter(TOKEN.findall(template)), inside=False).options[0]


def _parse_tokens(tokens: Iterator[str], inside: bool) -> Choice:
    options: list[list[str | Slot | Number | Choice]] = [[]]
    for token in tokens:
        if token == "[":
            choice = _parse_tokens(tokens, inside=True)
            options[-1] += [choice] if len(choice.options) > 1 else ["[", *choice.options[0], "]"]
        elif token == "]" and inside:
            break
        elif token == "|" and inside:
            options.append([])
        elif token[0] == "{" and token[-1] == "}" and len(token) > 2:
            options[-1].append(_slot(token[1:-1]))
        else:
            options[-1].append(token)
    return Choice(tuple(tuple(option) for option in options))


def _slot(name: str) -> Slot | Number:
    if name[0] == "#":
        low, _, high = name[1:].partition("-")
        return Number(int(low), int(high))
    return Slot(name[1:], name[0]) if name[0] in "^*!" else Slot(name, "")


def generate(rules: Grammar, name: str, random: Random, slots: Slots) -> str:
    """Expand one of the templates of `name`, without the superfluous spaces that empty choices leave.

    Errors: KeyError for a name in neither `rules` nor `slots`; RecursionError for a grammar that refers to itself too
    often.
    """
    return _tidy(_expand(rules, random.choice(rules[name]), random, slots, 0))


def generate_several(rules: Grammar, name: str, count: int, random: Random, slots: Slots) -> list[str]:
    """Expand up to `count` different templates of `name`."""
    templates = random.sample(rules[name], min(count, len(rules[name])))
    return [text for template in templates if (text := _tidy(_expand(rules, template, random, slots, 0)))]


def _tidy(text: str) -> str:
    """A text without superfluous spaces and with the right articles."""
    return with_articles(SPACE.sub("", text)).strip()


def with_articles(text: str) -> str:
    """`text` with "a" or "an" as the following word requires."""
    return ARTICLE.sub(lambda match: f"{match[1]}{'n' if VOWEL.match(match[2]) else ''} {match[2]}", text)


def _expand(rules: Grammar, template: Template, random: Random, slots: Slots, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise RecursionError("the grammar goes round in a circle")
    parts = []
    for piece in template:
        if isinstance(piece, str):
            parts.append(piece)
        elif isinstance(piece, Number):
            parts.append(str(random.randint(piece.low, piece.high)))
        elif isinstance(piece, Choice):
            parts.append(_expand(rules, random.choice(piece.options), random, slots, depth))
        elif piece.name in slots:
            parts.append(_apply_form(random.choice(slots[piece.name]), piece.form))
        else:
            filled = _expand(rules, random.choice(rules[piece.name]), random, slots, depth + 1)
            parts.append(_apply_form(filled, piece.form))
    return "".join(parts)


def _apply_form(text: str, form: str) -> str:
    if form == "^":
        return text[:1].upper() + text[1:]
    if form == "*":
        return " ".join(word[:1].upper() + word[1:] for word in text.split(" "))
    return text.upper() if form == "!" else text
