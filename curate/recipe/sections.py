"""The sections of a recipe: what each field is called, may hold, and means."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from curate.recipe.values import (
    Budget,
    FalseDrop,
    PersonalAction,
    PersonalKind,
    Share,
    Size,
    check_not_small,
    not_empty,
    parse_codes,
    parse_pii,
    parse_share,
    shown_budget,
    switch,
)
from curate.redaction import without_credentials


class Section(BaseModel):
    """A section of the recipe: no unknown fields, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Cast = Literal["string", "int64", "float64", "bool", "timestamp"]


class Source(Section):
    """Some of the inputs, or a dataset, with their own text column, name and licence."""

    paths: list[str] = Field(default=[], description="as in input.paths")
    dataset: str | None = Field(default=None, description="a Hugging Face dataset or a folder, instead of paths")
    config: str | None = Field(default=None, description="the dataset's configuration")
    split: str = Field(default="train", description="the dataset's split")
    revision: str | None = Field(default=None, description="the dataset's commit, tag or branch")
    text: str | None = Field(default=None, description="their column with the text; default: input.text")
    id: str | None = Field(default=None, description="their column with one value per document; default: input.id")
    source: str | None = Field(default=None, description="a value for a column `source`")
    license: str | None = Field(default=None, description="a value for a column `license`")

    @model_validator(mode="after")
    def _one_place(self) -> "Source":
        if bool(self.paths) == bool(self.dataset):
            raise ValueError("an entry has either `paths` or `dataset`")
        if self.paths and (self.config or self.revision or self.split != "train"):
            raise ValueError("`config`, `split` and `revision` belong to a dataset; an entry with `paths` has none")
        for name in ("source", "license"):
            if (value := getattr(self, name)) is not None and without_credentials(value) != value:
                raise ValueError(f"`{name}` holds a credential, which the data would publish; leave it out of the URL")
        return self


class Input(Section):
    """Where the corpus is and which columns matter."""

    paths: Annotated[list[str | Source], AfterValidator(not_empty), Field(json_schema_extra={"minItems": 1})] = Field(
        description="Parquet and JSONL files, globs, folders and URIs; relative to where curate is started"
    )
    text: str = Field(default="text", description="the column with the text")
    messages: str | None = Field(default=None, description="a column of {role, content}, instead of text")
    id: str | None = Field(
        default=None, description="a column with one value per document; without it doc_id is a hash of the text"
    )
    columns: list[str] | None = Field(
        default=None, description="the columns that the corpus has beside text and id; null: all that files have"
    )
    cast: dict[str, Cast] = Field(default={}, description="columns that are read as another type, in every file")
    strata: list[str] = Field(
        default=[], description="columns that quotas and percentiles are taken within; `name?` may be missing"
    )
    license: str | dict[str, str] | None = Field(
        default=None,
        description="the column with each document's licence, or licences by the values of column `source`; "
        "null: column `license`, if there is one",
    )
    max_document_bytes: Size = Field(default=10_000_000, description="longer documents are dropped as too_large")

    @model_validator(mode="after")
    def _text_or_messages(self) -> "Input":
        if self.messages is not None and (self.text != "text" or any(e.text for e in self.entries())):
            raise ValueError("messages takes the place of text; set one of them")
        if self.id is None and any(entry.id for entry in self.entries()):
            raise ValueError("an entry has an `id`; set input.id too, the name that the column has in the corpus")
        return self

    def entries(self) -> list[Source]:
        """All inputs as entries."""
        return [Source(paths=[entry]) if isinstance(entry, str) else entry for entry in self.paths]

    @property
    def column(self) -> str:
        """The column of the corpus that holds the documents."""
        return self.text if self.messages is None else self.messages


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


MIN_CONFIDENCE = 0.65  # FineWeb's bound (Penedo et al. 2024, section 3.3)
Confidence = Annotated[float, Field(ge=0, le=1)]


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


DEFAULT_MODEL = "default"
Percentile = Annotated[float, Field(ge=0, le=100)]


def _rising(band: list[float]) -> list[float]:
    if band[0] >= band[1]:
        raise ValueError(f"{band} is no band; the first percentile is below the second, as in [0, 90]")
    return band


class Perplexity(Section):
    """A band of perplexity in percentiles, per stratum."""

    model: str | dict[str, str] = Field(
        default="default",
        description="a KenLM model for all documents, a mapping from language to model, or the word default for the "
        "packaged one for English",
    )
    form: Literal["words-1", "plain-1", "ccnet-1"] | None = Field(
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
        """Whether a model is for some documents alone; the packaged one is for English."""
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
        chosen = [name for name in ("kinds", "keep_reserved") if name in self.model_fields_set]
        if chosen and "action" not in self.model_fields_set:
            raise ValueError(f"`{chosen[0]}` needs an `action` beside it: redact, drop, count or off")
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
    length_penalty: Annotated[LengthPenalty | None, switch(LengthPenalty)] = Field(
        default=None, description="lower coarse_score of very short and very long documents; {} has defaults"
    )
    pii: Annotated[Pii, BeforeValidator(parse_pii)] = Pii()
    block: list[Block] = Field(default=[], description="lists of your own: words, regular expressions, sites")
    decontaminate: Decontaminate | None = Field(
        default=None, description="drop documents that hold text of evaluation sets"
    )


class Near(Section):
    """Near duplicates by MinHash."""

    threshold: Annotated[float, BeforeValidator(parse_share)] = Field(
        default=0.8, gt=0, le=1, description="documents with this share of their shingles in common are duplicates"
    )
    permutations: int = Field(default=128, ge=1, le=4096, description="values of a signature")
    shingle: int = Field(default=5, ge=1, le=1000, description="words of a shingle")
    verify: Literal["signature", "border", "exact"] = Field(
        default="border", description="which pairs are compared by their whole texts: none, those in doubt, or all"
    )


class Lines(Section):
    """Lines that many documents have."""

    max_repeats: int = Field(
        default=20, ge=1, description="documents of one domain (of all, without a column url) that may have a line"
    )
    max_cut: Annotated[float, BeforeValidator(parse_share)] = Field(
        default=0.8, ge=0, le=1, description="a document that loses a larger share of its bytes is dropped"
    )


class Dedup(Section):
    """Duplicates and which copy survives."""

    exact: bool = Field(
        default=True, description="drop documents equal to another, or equal but for case and white space"
    )
    near: Annotated[Near | None, switch(Near)] = Field(
        default=None, description="drop documents that nearly equal another; {} has defaults"
    )
    lines: Annotated[Lines | None, switch(Lines)] = Field(
        default=None, description="cut lines that many documents have; {} has defaults"
    )
    keep: Literal["best", "first", "longest"] = Field(default="best", description="which copy of a duplicate survives")
    against: list[str] = Field(default=[], description="run directories whose kept documents are not kept again")
    keep_signatures: bool = Field(
        default=True, description="keep the signatures of near duplicates in the ledger once the run is finished"
    )


class Judge(Section):
    """Grades that the teacher gives to a sample, and a linear model gives to all documents after its example."""

    documents: int = Field(default=1000, ge=20, description="documents that the teacher grades")
    prompt: str = Field(default="quality_grade", description="a prompt of curate's, or a file of one's own")


class Tier2(Section):
    """Adversarial purification: drop what a model trained on good, mined and corrupted text tells from good text."""

    rounds: int = Field(default=4, ge=1, le=20, description="times that the model is trained on what fooled it")
    max_false_drop: FalseDrop = Field(
        default=0.02, description="share of documents like those of the reference that may be dropped, by stratum"
    )
    by: list[Literal["language", "length_bucket"]] = Field(
        default=["length_bucket"], description="what strata of the bound are made of, inside of input.strata"
    )
    good: int = Field(default=8000, ge=100, description="documents of the reference that are used, at most")
    mined: int = Field(default=8000, ge=100, description="documents of the corpus that serve as bad ones, at most")
    attacks: int = Field(default=400, ge=1, description="documents that each attack makes in a round, at most")
    written: int = Field(default=50, ge=0, description="documents that a teacher corrupts by each prompt in a round")
    excerpt: int = Field(default=3000, ge=200, description="characters of a text that are sent to a teacher, at most")
    families: list[str] | None = Field(default=None, description="families of attacks; null: all")
    held_out: str | None = Field(
        default="truncation_splice", description="the family that is only tested on, never trained on; null: none"
    )
    judge: Annotated[Judge | None, switch(Judge)] = Field(
        default=None, description="grades by the teacher; {} has defaults"
    )


class Quotas(Section):
    """How the budget is spread over strata: what one of them lacks goes to the others."""

    by: Annotated[list[str], AfterValidator(not_empty)] = Field(
        default=["domain"],
        description="what strata are made of: domain (of the reference, predicted), language, length_bucket, "
        "columns of input.strata",
    )
    temperature: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="1 keeps the mixture: of candidates, of domains that of the reference; 0 gives all as much",
    )
    floor: Annotated[Share, Field(le=1)] = Field(default=0.0, description="least share of the budget for each stratum")
    targets: dict[str, Annotated[Share, Field(le=1)]] = Field(
        default={}, description="shares of the budget by stratum, such as {code: 20%}; of several columns en/news"
    )

    @model_validator(mode="after")
    def _within_the_budget(self) -> "Quotas":
        if sum(self.targets.values()) > 1 + 1e-9:
            raise ValueError(f"the targets come to {sum(self.targets.values()):.0%} of the budget; at most 100%")
        return self


class Weights(Section):
    """What a document is wanted for."""

    quality: float = Field(default=1.0, ge=0, description="the weighted mean of scores")
    diversity: float = Field(default=0.0, ge=0, description="how rare texts like it are among the candidates")

    @model_validator(mode="after")
    def _not_nothing(self) -> "Weights":
        if self.quality + self.diversity == 0:
            raise ValueError("quality and diversity are both 0; give one of them a weight")
        return self


class StaticVectors(Section):
    """Vectors of texts from a static embedding model."""

    static: str = Field(min_length=1, description="a model of model2vec: a folder, or a name on the Hugging Face Hub")
    revision: str | None = Field(default=None, description="commit, tag or branch on the Hub")


def _vectors_kind(value: object) -> str | None:
    """Which of the two forms vectors are written in."""
    if value == "hashed":
        return "hashed"
    return "StaticVectors" if isinstance(value, dict | StaticVectors) else None


Vectors = Annotated[
    Annotated[Literal["hashed"], Tag("hashed")] | Annotated[StaticVectors, Tag("StaticVectors")],
    Discriminator(
        _vectors_kind, custom_error_type="vectors_form", custom_error_message="is hashed, or {static: MODEL}"
    ),
]


class Distill(Section):
    """The token budget: which documents are worth it."""

    keep_tokens: Budget = Field(default=0.15, description="share of the input's tokens, or a number of them")
    allow_small: bool = Field(default=False, description="allow budgets under 1,000 tokens")
    ladder: list[Budget] = Field(default=[], description="smaller budgets, each part of the next; column rung")
    scores: Annotated[dict[str, Annotated[float, Field(gt=0)]], AfterValidator(not_empty)] | None = Field(
        default=None,
        description="scores and their weights: discriminator, importance, purify, language_model, token_prior, "
        "coarse_score, grades, input.COLUMN; null: those that docs/distil.md tells",
    )
    weights: Weights = Field(default=Weights(), description="of quality and diversity")
    temperature: float = Field(
        default=0.0, ge=0, description="0 takes the best documents; the higher, the more is left to chance"
    )
    novelty: Annotated[Share, Field(le=1)] = Field(
        default=0.6, description="a document is passed over where less of its text is new to what is kept"
    )
    cluster_cap: Annotated[Share, Field(gt=0, le=1)] = Field(
        default=1.0, description="the largest share of the budget that texts of one cluster may have"
    )
    vectors: Vectors = Field(
        default="hashed", description="what texts are clustered by: their words and pairs, or {static: MODEL}"
    )
    quotas: Quotas | None = Field(default=Quotas(), description="how the budget is parted; with null it is not")
    grades: str | None = Field(default=None, description="file with columns text and score, for the score grades")
    good: int = Field(default=20000, ge=100, description="documents of the reference that are used, at most")
    sample: int = Field(default=20000, ge=100, description="documents of the corpus that models learn it from, at most")

    @model_validator(mode="after")
    def _budgets_meant(self) -> "Distill":
        for name, budget in (("keep_tokens", self.keep_tokens), *(("ladder", rung) for rung in self.ladder)):
            if not self.allow_small:
                check_not_small(name, budget)
        for rung in self.ladder:
            if (rung <= 1) == (self.keep_tokens <= 1) and rung > self.keep_tokens:
                raise ValueError(
                    f"ladder: {shown_budget(rung)} is more than keep_tokens, {shown_budget(self.keep_tokens)}"
                )
        return self


class Transformer(Section):
    """The decoder of the proxy `transformer`, and how long it is trained."""

    d_model: int = Field(default=128, ge=8, description="width; a multiple of heads")
    layers: int = Field(default=4, ge=1, description="blocks")
    heads: int = Field(default=4, ge=1, description="of attention, in each block")
    context: int = Field(default=256, ge=2, multiple_of=2, description="tokens of a window")
    batch: int = Field(default=16, ge=1, description="windows of a step")
    epochs: float = Field(default=1.0, gt=0, description="times that the full arm is read")
    steps: int | None = Field(default=None, ge=1, description="of every model, in the place of epochs")
    learning_rate: float = Field(default=2e-3, gt=0, description="the highest; it rises, and falls by a cosine")
    seeds: int = Field(default=1, ge=1, description="models of each arm that has one draw")

    @model_validator(mode="after")
    def _heads_fit(self) -> "Transformer":
        if self.d_model % self.heads:
            raise ValueError(f"d_model {self.d_model} is no multiple of heads, {self.heads}")
        return self


class Evaluate(Section):
    """How much quality a run keeps, told by models of what it keeps, of all its input, and of random documents."""

    heldout: Annotated[list[str], AfterValidator(not_empty), Field(json_schema_extra={"minItems": 1})] = Field(
        description="files of text that neither the corpus nor the reference has; models are asked about it"
    )
    domain: str | None = Field(default=None, description="their column with the domain; null: a domain is a file")
    most: int = Field(default=500, ge=1, description="held-out texts of a domain, at most, drawn by seed")
    least: int = Field(default=20, ge=1, description="held-out texts that must be left when leaks are taken out")
    proxy: Literal["ngram", "transformer"] = Field(
        default="ngram", description="the models: n-grams of tokens, or a small decoder (needs torch)"
    )
    draws: int = Field(default=3, ge=1, description="draws of random documents; fewer than 3 tell little of chance")
    order: int = Field(default=4, ge=2, le=6, description="tokens of an n-gram")
    vocabulary: int = Field(default=8192, ge=256, le=65536, description="tokens that texts are written in, at most")
    sample: Size = Field(default=200_000_000, description="bytes of the input that models are trained on, at most")
    ablate: bool = Field(default=True, description="also decide the run anew without each of its stages")
    transformer: Transformer = Transformer()
    track: bool | None = Field(
        default=None,
        description="`curate run` measures a small sample after each stage; null: where the input is so large that "
        "this is the smaller part of the run",
    )


class Models(Section):
    """Models that a run trains."""

    pin: str | None = Field(default=None, description="a run whose models are used; null: they are trained")
