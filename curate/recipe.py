"""The recipe: one YAML file, typed, that holds every knob which changes the result."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from curate.errors import RecipeError, did_you_mean
from curate.fields import PersonalAction, PersonalKind, Share, Size, not_empty, parse_codes, parse_pii, parse_share

# Sections and fields whose type stands but whose work is not built yet: set to anything but this, they are refused.
NOT_BUILT: dict[str, Any] = {
    "tokenizer": "estimate",
    "teacher": "rules",
    "reference": [],
    "tier2": None,
    "tier3": None,
    "distill": None,
    "evaluate": None,
    "models.pin": None,
    "export": [],
}


class Section(BaseModel):
    """A section of the recipe: no unknown fields, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Source(Section):
    """Some of the inputs, or a dataset, with their own text column, name and licence."""

    paths: list[str] = Field(default=[], description="as in input.paths")
    dataset: str | None = Field(default=None, description="a Hugging Face dataset or a folder, instead of paths")
    config: str | None = Field(default=None, description="the dataset's configuration")
    split: str = Field(default="train", description="the dataset's split")
    revision: str | None = Field(default=None, description="the dataset's commit, tag or branch")
    text: str | None = Field(default=None, description="their column with the text; default: input.text")
    source: str | None = Field(default=None, description="a value for a column `source`")
    license: str | None = Field(default=None, description="a value for a column `license`")

    @model_validator(mode="after")
    def _one_place(self) -> "Source":
        if bool(self.paths) == bool(self.dataset):
            raise ValueError("an entry has either `paths` or `dataset`")
        if self.paths and (self.config or self.revision or self.split != "train"):
            raise ValueError("`config`, `split` and `revision` belong to a dataset; an entry with `paths` has none")
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
    strata: list[str] = Field(
        default=[], description="columns that quotas and percentiles are taken within; `name?` may be missing"
    )
    max_document_bytes: Size = Field(default=10_000_000, description="longer documents are dropped as too_large")

    @model_validator(mode="after")
    def _text_or_messages(self) -> "Input":
        if self.messages is not None and (self.text != "text" or any(e.text for e in self.entries())):
            raise ValueError("messages takes the place of text; set one of them")
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
    language: Language | None = Field(default=None, description="keep documents in some languages; {} has defaults")
    perplexity: Perplexity | None = Field(
        default=None, description="drop documents with an unusual perplexity; {} has defaults"
    )
    length_penalty: LengthPenalty | None = Field(
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
    near: Near | None = Field(default=None, description="drop documents that nearly equal another; {} has defaults")
    lines: Lines | None = Field(default=None, description="cut lines that many documents have; {} has defaults")
    keep: Literal["best", "first", "longest"] = Field(default="best", description="which copy of a duplicate survives")
    against: list[str] = Field(default=[], description="run directories whose kept documents are not kept again")
    keep_signatures: bool = Field(
        default=True, description="keep the signatures of near duplicates in the ledger once the run is finished"
    )


class Tier2(Section):
    """Adversarial purification."""

    rounds: int = 4
    max_false_drop: float = 0.02


class Domain(Section):
    """A domain to augment, named by seed documents."""

    name: str
    seeds: list[str]
    target_tokens: int


class Adapter(Section):
    """The LoRA adapter trained per domain."""

    base: str
    rank: int = 16
    alpha: int = 32
    target_modules: list[str] = ["q_proj", "v_proj"]


class Tier3(Section):
    """LoRA domain augmentation."""

    domains: list[Domain]
    adapter: Adapter


class Quotas(Section):
    """How the token budget is spread over strata."""

    by: list[str]
    temperature: float = 0.5
    floor: Share = 0.0


class Distill(Section):
    """The token budget."""

    keep_tokens: Share
    ladder: list[Share] = []
    scores: dict[str, float | int] = {}
    weights: dict[str, float | int] = {"quality": 0.7, "diversity": 0.3}
    quotas: Quotas | None = None


class Evaluate(Section):
    """The retention figure."""

    heldout: list[str]
    proxy: Literal["ngram", "transformer"] = "ngram"
    track: bool = True


class Models(Section):
    """Models that a run trains."""

    pin: str | None = None


class Recipe(Section):
    """Everything that decides what a run keeps."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(description="names the dataset")
    seed: int = Field(default=0, description="all randomness derives from it")
    output: str | None = Field(default=None, description="the run directory; null means runs/ and the name")
    input: Input
    on_error: Literal["stop", "quarantine"] = Field(default="stop", description="what an unreadable file does")
    allow_empty: bool = Field(default=False, description="whether a run that keeps nothing is a success")
    tokenizer: str = Field(default="estimate", description="what n_tokens counts: an estimate by bytes and script")
    exclude: list[str] = Field(default=[], description="files of ids, urls or hashes whose documents are removed")
    reference: list[str] = Field(default=[], description="files of good text for later tiers")
    teacher: Literal["rules"] | dict[str, Any] = "rules"
    tier1: Tier1 = Tier1()
    dedup: Dedup = Dedup()
    tier2: Tier2 | None = None
    tier3: Tier3 | None = None
    distill: Distill | None = None
    evaluate: Evaluate | None = None
    models: Models = Models()
    export: list[str] = []
    shard_size: Size = Field(default=256_000_000, description="bytes of text per output shard")

    @property
    def run_directory(self) -> Path:
        """Where the run goes."""
        return Path(self.output or f"runs/{self.name}")

    def resolved(self) -> dict[str, Any]:
        """The recipe with all defaults written out, but for where it reads and writes."""
        return self.model_dump(mode="json", by_alias=True, exclude={"output": True, "input": {"paths"}})

    def digest(self) -> str:
        """Hex digest of all that can change a kept document, but for the inputs, which have hashes of their own."""
        return digest_of({name: value for name, value in self.resolved().items() if name not in ("name", "export")})


def changed_fields(before: Recipe, after: Recipe) -> dict[str, tuple[Any, Any]]:
    """The fields that decide what is kept and differ, by their dotted names, with both values (null: none)."""
    fields = (before.resolved(), after.resolved())
    old, new = (_flat(one) for one in fields)
    names = [
        n for n in {**new, **old} if n not in ("name", "export") and (n in old, old.get(n)) != (n in new, new.get(n))
    ]
    whole = [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
    return {name: (_at(fields[0], name), _at(fields[1], name)) for name in whole}


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Fields by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _at(fields: Any, name: str) -> Any:  # noqa: ANN401 - any value of a recipe
    """The value of a dotted name; None where there is none."""
    for part in name.split("."):
        fields = fields.get(part) if isinstance(fields, dict) else None
    return fields


def digest_of(value: object) -> str:
    """Hex digest (128 bits of SHA-256) of a value as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def load_recipe(path: Path, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe file, with changes of the form `a.b=c` (c is YAML).

    Errors: RecipeError naming the file, the field and what would have been right.
    """
    try:
        fields = _parsed_yaml(path.read_text("utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not UTF-8 text") from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise RecipeError(f"{path}: not YAML: {problem}") from None
    if not isinstance(fields, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of fields such as name and input")
    for change in changes:
        _set(fields, change)
    return parse_recipe(fields, str(path))


def parse_recipe(fields: dict[str, Any], where: str) -> Recipe:
    """A recipe from its fields; errors name `where`."""
    try:
        text = json.dumps(fields, default=str, ensure_ascii=False).encode()
    except ValueError:  # a YAML alias of itself, or half a surrogate pair
        raise RecipeError(f"{where}: holds a field within itself, or characters that are none") from None
    try:
        recipe = Recipe.model_validate_json(text)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_first_error(error)}") from None
    for name, harmless in NOT_BUILT.items():
        if _get(recipe, name) != harmless:
            usable = "remove it" if harmless in (None, []) else f"use {harmless}"
            raise RecipeError(f"{where}: {name} is not built yet; {usable}")
    return recipe


def _parsed_yaml(text: str) -> Any:  # noqa: ANN401 - any YAML
    """YAML's value; what its own constructors raise (a 13th month, no number) as its error."""
    try:
        return yaml.load(text, _UniqueKeys)
    except (ValueError, RecursionError) as error:
        raise yaml.YAMLError(str(error)) from None


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a repeated key is an error, not a silent loss."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that the mapping already has."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise yaml.MarkedYAMLError(problem="a field's name is text", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the field {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _get(recipe: Recipe, name: str) -> object:
    value: Any = recipe
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _set(fields: dict[str, Any], change: str) -> None:
    """Apply one `a.b=c`."""
    name, equals, text = change.partition("=")
    if not equals or not name.strip():
        raise RecipeError(f"--set {change}: write it as field.field=value")
    *parents, last = name.strip().split(".")
    for parent in parents:
        if not isinstance(fields.setdefault(parent, {}), dict):
            fields[parent] = {}
        fields = fields[parent]
    try:
        fields[last] = _parsed_yaml(text)
    except yaml.YAMLError:
        raise RecipeError(f"--set {change}: {text!r} is not YAML") from None


def _first_error(error: ValidationError) -> str:
    """One line for the first thing wrong: an unknown field before anything else."""
    errors = error.errors(include_url=False)
    unknown = [e for e in errors if e["type"] == "extra_forbidden"]
    of_right_kind = [e for e in errors if not (e["type"] == "string_type" and isinstance(e["input"], dict))]
    first = (unknown or of_right_kind or errors)[0]
    place = [str(part) for part in first["loc"] if not _is_type_name(part)]
    if unknown:
        parent = ".".join(place[:-1])
        known = _fields_at(place[:-1])
        return f"{parent or 'the recipe'} has no field {place[-1]!r}{did_you_mean(place[-1], known)}"
    if first["type"] == "missing":
        return f"{'.'.join(place)} is missing"
    message = first["msg"].removeprefix("Value error, ")
    shown = json.dumps(first["input"], ensure_ascii=False, default=str)
    got = f", got {shown}" if first["type"] != "value_error" and len(shown) < 60 else ""
    return f"{'.'.join(place)}: {message[0].lower()}{message[1:]}{got}"


def _is_type_name(part: object) -> bool:
    """Whether part of an error's location names a branch of a union rather than a field."""
    return isinstance(part, str) and (part in ("str", "int", "float") or part[:1].isupper() or "[" in part)


def _fields_at(place: list[str]) -> set[str]:
    """Names of the fields of the section at `place`."""
    section: type[BaseModel] = Recipe
    for part in place:
        if part.isdigit():
            continue
        annotation = section.model_fields[part].annotation
        section = next(model for model in _models_in(annotation))
    return {field.alias or name for name, field in section.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - any type annotation
    """Section types within a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models_in(inner)]
