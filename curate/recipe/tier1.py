"""The section tier1: rules, languages, perplexity, personal data, lists, evaluation sets."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from curate.recipe.affects import affects
from curate.recipe.section import Section
from curate.recipe.values import PersonalAction, PersonalKind, not_empty, parse_codes, parse_pii, switch

MIN_CONFIDENCE = 0.65  # FineWeb's bound (Penedo et al. 2024, section 3.3)
Confidence = Annotated[float, Field(ge=0, le=1)]
DEFAULT_MODEL = "default"
Percentile = Annotated[float, Field(ge=0, le=100)]


class Rule(Section):
    """A rule: one signal with an inclusive bound and perhaps a condition, or a free condition (`when`)."""

    reason: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = Field(
        description="what was wrong, as in too_few_words"
    )
    signal: str | None = None
    min: float | int | None = None
    max: float | int | None = None
    if_: str | None = Field(
        default=None, alias="if", description="SQL over signals and input columns (input.x); else no verdict"
    )
    when: str | None = Field(default=None, description="SQL over signals and input columns; true drops")
    source: str = ""

    @model_validator(mode="after")
    def _one_form(self) -> "Rule":
        bounded = self.signal is not None and (self.min is None) != (self.max is None) and self.when is None
        free = self.when is not None and {self.signal, self.min, self.max, self.if_} == {None}
        if not (bounded or free):
            raise ValueError(
                f"{self.reason}: a rule has `signal` with either `min` or `max` (and perhaps `if`), or `when`"
            )
        return self


class Language(Section):
    """In which languages documents may be."""

    keep: Annotated[
        Annotated[list[str], AfterValidator(not_empty), Field(json_schema_extra={"minItems": 1})] | None,
        BeforeValidator(parse_codes),
    ] = Field(default=None, description="codes of languages to keep, as in en, de, zh; null keeps all")
    min_confidence: Annotated[Confidence | dict[str, Confidence], BeforeValidator(parse_codes)] = Field(
        default=MIN_CONFIDENCE,
        description="least confidence of the language; a mapping sets it by language, for others the default holds",
    )


def _rising(band: list[float]) -> list[float]:
    if band[0] >= band[1]:
        raise ValueError(f"{band} is no band; the first percentile is below the second, as in [0, 90]")
    return band


class Perplexity(Section):
    """A band of perplexity in percentiles, per stratum."""

    model: Annotated[str | dict[str, str], affects("measures")] = Field(
        default="default",
        description="a KenLM model for all documents, a mapping from language to model, or the word default for the "
        "packaged one for English",
    )
    form: Annotated[Literal["words-1", "plain-1", "ccnet-1"] | None, affects("measures")] = Field(
        default=None, description="the form of text that models read, where their files do not tell it"
    )
    band: Annotated[list[Percentile], Field(min_length=2, max_length=2), AfterValidator(_rising)] = Field(
        default=[0, 90], description="lowest and highest percentile of a stratum that are kept"
    )
    by: list[Literal["language", "length_bucket"]] = Field(
        default=["language", "length_bucket"], description="what strata are made of, inside of input.strata"
    )
    min_documents: int = Field(
        default=100, ge=1, description="a stratum with fewer takes the band of the wider one around it"
    )

    @property
    def by_language(self) -> bool:
        """Whether any model is for one language only; the packaged one is for English."""
        return not isinstance(self.model, str) or self.model == DEFAULT_MODEL


class LengthPenalty(Section):
    """Numbers of words below and above which coarse_score falls."""

    low: int = Field(default=100, ge=1, description="words from which on nothing is taken from coarse_score")
    high: int = Field(default=50_000, ge=1, description="words up to which nothing is")

    @model_validator(mode="after")
    def _in_order(self) -> "LengthPenalty":
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}; the first is the smaller one")
        return self


class Decontaminate(Section):
    """Evaluation sets whose text must not be in the corpus."""

    against: Annotated[list[str], AfterValidator(not_empty), Field(json_schema_extra={"minItems": 1})] = Field(
        description="Parquet and JSONL files, globs and folders with evaluation sets"
    )
    columns: Annotated[list[str], AfterValidator(not_empty), Field(json_schema_extra={"minItems": 1})] | None = Field(
        default=None, description="their columns whose text is looked for; null: every column of text"
    )
    ngram: int = Field(default=13, ge=1, le=1000, description="words that a document must have in common with an item")
    min_words: int = Field(default=8, ge=1, description="texts of fewer words than ngram are looked for from here on")
    action: Literal["drop", "cut"] = Field(default="drop", description="drop documents, or cut the passages out")


class Pii(Section):
    """Personal data and secrets; an action alone, as in `pii: redact`, has the other defaults."""

    action: PersonalAction = Field(
        default="off", description="redact: placeholders in the text; drop: the document; count: measure; or off"
    )
    kinds: Annotated[list[PersonalKind], AfterValidator(not_empty), Field(json_schema_extra={"minItems": 1})] = Field(
        default=list(get_args(PersonalKind)), description="what to find"
    )
    keep_reserved: bool = Field(
        default=False, description="leave what is reserved for examples, tests and private networks"
    )

    @model_validator(mode="after")
    def _with_action(self) -> "Pii":
        options = [name for name in ("kinds", "keep_reserved") if name in self.model_fields_set]
        if options and "action" not in self.model_fields_set:
            raise ValueError(f"`{options[0]}` needs an `action` beside it: redact, drop, count or off")
        return self


class Block(Section):
    """Documents to drop for what a list of yours names: `words`, a `regex`, or `urls`."""

    reason: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = Field(description="names the list, as in bad_words")
    words: str | None = Field(default=None, description="a file of words and phrases, one a line")
    regex: str | None = Field(default=None, description="a regular expression of RE2")
    urls: str | None = Field(default=None, description="a file of domains and beginnings of addresses, one a line")
    max: int = Field(default=0, ge=0, description="occurrences that are allowed")

    @model_validator(mode="after")
    def _one_list(self) -> "Block":
        if sum(given is not None for given in (self.words, self.regex, self.urls)) != 1:
            raise ValueError(f"{self.reason}: an entry has one of `words`, `regex` and `urls`")
        return self


class Tier1(Section):
    """Filters that need no LLM."""

    rules: list[str | Rule] = Field(default=[], description="named rule sets (`curate rules`); a mapping adds one rule")
    thresholds: dict[str, float | int | None] = Field(
        default={}, description="other bounds, by reason; null switches a rule off"
    )
    language: Annotated[Language | None, switch(Language)] = Field(
        default=None, description="keep documents in some languages; {} has defaults"
    )
    perplexity: Annotated[Perplexity | None, switch(Perplexity)] = Field(
        default=None, description="drop documents with an unusual perplexity; {} has defaults"
    )
    length_penalty: Annotated[LengthPenalty | None, switch(LengthPenalty), affects("tier2")] = Field(
        default=None, description="lower coarse_score of very short and very long documents; {} has defaults"
    )
    pii: Annotated[Pii, BeforeValidator(parse_pii), affects("measures")] = Pii()
    block: Annotated[list[Block], affects("measures")] = Field(
        default=[], description="lists of your own: words, regular expressions, sites"
    )
    decontaminate: Annotated[Decontaminate | None, affects("measures")] = Field(
        default=None, description="drop documents that hold text of evaluation sets"
    )
