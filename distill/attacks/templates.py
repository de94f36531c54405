r"""Sentences from small grammars: distill/text/phrases/*.yaml, whose slots a document's own words fill.

A grammar maps names to templates, one a line. In a template `{name}` stands for one of the templates of that name, or
of the words given for it; `{^name}`, `{*name}` and `{!name}` begin with a capital, give every word one, are all
capitals; `{#10-99}` is a number between both; `[one|another|]` is one of these; `\n` begins a line.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from curate.distill.text.phrases import phrases

TOKEN = re.compile(r"\{[^{}\s]+\}|[\[\]|]|[^{}\[\]|]+|[{}]")
SPACE = re.compile(r" +(?=[ ,.?!\n])")  # too much of it
ARTICLE = re.compile(r"\b([Aa])n? ([A-Za-z]+)")
VOWEL = re.compile(r"(?!(?i:uni|use|usu|one|once|eu))[AEIOUaeiou]|hour|honest")
DEEPEST = 12  # a grammar that goes deeper refers to itself


@dataclass(frozen=True)
class Slot:
    """A place for one of several texts, and how it is written: "^", "*", "!" or as it is."""

    name: str
    form: str


@dataclass(frozen=True)
class Number:
    """A place for a number, both bounds included."""

    low: int
    high: int


@dataclass(frozen=True)
class Choice:
    """One of several pieces of template."""

    options: "tuple[Template, ...]"


Template = tuple[str | Slot | Number | Choice, ...]
Grammar = Mapping[str, Sequence[Template]]
Slots = Mapping[str, Sequence[str]]  # the words given for a name


@cache
def grammar(name: str) -> Grammar:
    """The grammar in phrases/`name`.yaml."""
    read = phrases(name)
    return {key: tuple(parse(line.replace("\\n", "\n")) for line in lines.splitlines()) for key, lines in read.items()}


def parse(template: str) -> Template:
    """A template as its pieces. Brackets without a bar inside are text."""
    return _parsed(iter(TOKEN.findall(template)), inside=False).options[0]


def _parsed(tokens: Iterator[str], inside: bool) -> Choice:
    options: list[list[str | Slot | Number | Choice]] = [[]]
    for token in tokens:
        if token == "[":
            within = _parsed(tokens, inside=True)
            options[-1] += [within] if len(within.options) > 1 else ["[", *within.options[0], "]"]
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


def written(words: Grammar, name: str, random: Random, slots: Slots) -> str:
    """A text for `name`: one of its templates, filled, without the spaces that empty choices leave.

    Errors: KeyError for a name that stands neither in `words` nor in `slots`; RecursionError for a grammar that refers
    to itself too often.
    """
    return _tidied(_filled(words, random.choice(words[name]), random, slots, 0))


def several(words: Grammar, name: str, count: int, random: Random, slots: Slots) -> list[str]:
    """Texts for `name` from different templates: `count`, or as many as there are templates."""
    templates = random.sample(words[name], min(count, len(words[name])))
    return [text for template in templates if (text := _tidied(_filled(words, template, random, slots, 0)))]


def _tidied(text: str) -> str:
    """A text as it would be written: no space too much, and "an" before vowels only."""
    return with_articles(SPACE.sub("", text)).strip()


def with_articles(text: str) -> str:
    """`text` with "a" and "an" as the word behind wants it."""
    return ARTICLE.sub(lambda match: f"{match[1]}{'n' if VOWEL.match(match[2]) else ''} {match[2]}", text)


def _filled(words: Grammar, template: Template, random: Random, slots: Slots, depth: int) -> str:
    if depth > DEEPEST:
        raise RecursionError("the grammar goes round in a circle")
    made = []
    for piece in template:
        if isinstance(piece, str):
            made.append(piece)
        elif isinstance(piece, Number):
            made.append(str(random.randint(piece.low, piece.high)))
        elif isinstance(piece, Choice):
            made.append(_filled(words, random.choice(piece.options), random, slots, depth))
        elif piece.name in slots:
            made.append(_in_form(random.choice(slots[piece.name]), piece.form))
        else:
            filled = _filled(words, random.choice(words[piece.name]), random, slots, depth + 1)
            made.append(_in_form(filled, piece.form))
    return "".join(made)


def _in_form(text: str, form: str) -> str:
    if form == "^":
        return text[:1].upper() + text[1:]
    if form == "*":
        return " ".join(word[:1].upper() + word[1:] for word in text.split(" "))
    return text.upper() if form == "!" else text
