"""The fields of manifest.json, typed: what is written, what is read, and the JSON schema that is published."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MANIFEST_VERSION = 1

Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# The recipe's rule too: trainers' configurations contain the name, and a line feed there would begin another field.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]  # 128 bits


class Entry(BaseModel):
    """Part of the manifest: no unknown fields, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Facts(Entry):
    """Part of the manifest that may have more fields than these."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    @property
    def more(self) -> Mapping[str, Any]:
        """The fields beyond the declared ones, as JSON."""
        return self.model_extra or {}


class Tool(Entry):
    """What wrote it."""

    name: str
    version: str


class InputEntry(Entry):
    """A file of the input; one in quarantine has `error` in the place of its hash."""

    path: str = Field(description="within the corpus")
    bytes: Count
    documents: Count
    documents_out: Count = Field(description="of these, kept")
    tokens_out: Count
    content_xxh3_128: str | None = Field(default=None, description="of its documents' hashes")
    source: str | None = Field(default=None, description="as the recipe says")
    license: str | None = Field(default=None, description="as the recipe says")
    bad_lines: Count | None = Field(default=None, description="of JSON lines, that are in quarantine; null: none")
    error: str | None = Field(default=None, description="why it is in quarantine")


class ResolvedRule(Entry):
    """A rule as it was applied."""

    set: str | None
    reason: str
    signal: str | None = None
    min: float | int | None = None
    max: float | int | None = None
    if_: str | None = Field(default=None, alias="if")
    when: str | None = None
    source: str = ""


class Edit(Entry):
    """A kind of cut in texts, with its bounds by reason."""

    name: str
    bounds: dict[str, object]


class EarlierRun(Entry):
    """A run whose documents were not kept again."""

    name: str
    manifest_sha256: Sha256


class LanguageModelEntry(Entry):
    """A language model that perplexity was measured with."""

    language: str | None
    form: str
    content_xxh3_128: Hash


class LanguageIdentification(Entry):
    """The model that told languages."""

    model: str
    content_xxh3_128: Hash


class BenchmarkEntry(Entry):
    """A file of evaluation sets that was looked for."""

    name: str
    content_xxh3_128: Hash
    items: Count
    ngrams: Count
    items_hit: Count
    documents_hit: Count


class Decontamination(Entry):
    """How evaluation sets were looked for; `benchmarks` has the files."""

    ngram: Count = Field(description="words in a row")
    min_words: Count = Field(description="of shorter texts, which are looked for as a whole")
    action: Literal["drop", "cut"]
    columns: list[str] | None = Field(description="null: all columns of text")
    benchmarks: Count = Field(description="files")
    items: Count
    items_hit: Count
    documents_hit: Count = Field(description="pairs of a document and a file that it has text of")
    documents_dropped: Count


class Amount(Entry):
    """Documents and tokens."""

    documents: Count
    tokens: Count


class StageAmount(Amount):
    """Documents, tokens and bytes of text."""

    bytes: Count | None = Field(default=None, description="of text; null: not counted")


class StageEntry(Entry):
    """A stage with what went in and out, and what it dropped by reason."""

    stage: str
    documents_in: Count
    tokens_in: Count
    bytes_in: Count | None = Field(default=None, description="of text; null: not counted")
    documents_out: Count
    tokens_out: Count
    bytes_out: Count | None = Field(default=None, description="of text; null: not counted")
    dropped: dict[str, StageAmount]
    cut: StageAmount | None = Field(default=None, description="documents that lost text and stayed, and that text")
    written: StageAmount | None = Field(default=None, description="documents that a model wrote, and were accepted")


class Near(Entry):
    """Near duplicates, by MinHash."""

    algorithm: Literal["minhash"]
    scheme: str = Field(description="what signatures are bit-identical to")
    ngram: Count = Field(description="words of a shingle")
    permutations: Count
    bands: Count
    rows: Count = Field(description="values of a band")
    seed: int
    threshold: float
    verify: str


class DedupEntry(Entry):
    """How duplicates were found and which copy was kept."""

    exact: bool
    exact_hash: str = Field(description="what equal documents are told by")
    near: Near | None
    lines: dict[str, object] | None
    keep: str


class Share(Amount):
    """What of the output has one value; null where nothing is known."""

    value: str | None


class LicenseEntry(Amount):
    """What of the output has one licence, by source where the documents have one."""

    source: str | None
    license: str = Field(description="as the input or the recipe says; unknown: neither does")


class WhoRate(Entry):
    """What a stage drops of the documents of a group that reach it, against the rest of those that do."""

    dimension: str
    value: str | None = Field(description="the group; null: documents without a value")
    stage: str = Field(description="all: all stages together")
    documents: Count
    dropped: Count
    tokens: Count
    tokens_dropped: Count
    share: float = Field(description="of the documents, dropped; low and high: its 95% interval (Wilson)")
    low: float
    high: float
    rest_share: float | None
    difference: float | None = Field(description="share less rest_share, with its 95% interval (Newcombe)")
    difference_low: float | None
    difference_high: float | None
    p: float | None = Field(description="that the group is dropped like the rest, corrected")
    within: float | None = Field(description="the difference within strata (Mantel-Haenszel), with its 95% interval")
    within_low: float | None
    within_high: float | None
    within_p: float | None
    mark: Literal["more", "less"] | None = Field(description="beyond chance, and by least_difference or more")
    within_mark: Literal["more", "less"] | None
    reason: str | None = Field(description="that drops most of the group")
    reason_documents: Count | None


class WhoEntry(Entry):
    """Who is dropped: descriptive figures, of all stages together and of the single ones that are marked."""

    level: float = Field(description="of p, below which a difference is beyond chance")
    least_difference: float
    least_documents: Count = Field(description="of a group that is listed")
    correction: Literal["holm"]
    comparisons: Count = Field(description="that p is corrected for")
    within: dict[str, list[str]] = Field(description="what the strata of each dimension are made of")
    rates: list[WhoRate]


class DomainEntry(Entry):
    """A domain that documents were written for, as table `domains` tells of it."""

    domain: str
    seeds: Count
    least_importance: float
    distance: float
    documents: Count
    tokens: Count
    share: float
    mean_importance: float
    dropped_for_form: Count
    dropped_tokens: Count
    target_tokens: Count
    wanting: Count
    cap: Count


class WrittenEntry(Entry):
    """How documents were written for domains."""

    teacher: dict[str, object] | None
    adapters: dict[str, object] | None = Field(description="by domain: what each was trained on, and its hash")
    prompts: dict[str, str] | None = Field(description="hashes by name")
    questions: dict[str, dict[str, int]] | None = Field(description="by domain: asked for, and what came of it")
    candidates: Count
    domains: list[DomainEntry]
    tables: dict[str, Sha256] = Field(description="files below synthetic/")


class Synthetic(Amount):
    """What of the output this run has made itself."""

    share: float = Field(ge=0, le=1, description="of the output's tokens")
    written: WrittenEntry | None = Field(description="null: the recipe has no tier3")


class SchemaField(Entry):
    """A column of the output, with those inside of it."""

    name: str
    type: str = Field(description="as Arrow writes it")
    fields: "list[SchemaField] | None" = Field(default=None, description="of structs, lists and maps")


class Shard(Entry):
    """A file of the output."""

    path: str = Field(description="within the run directory")
    documents: Count
    tokens: Count
    bytes: Count
    sha256: Sha256


class Purify(Facts):
    """The second tier: models by hash, how they were tested, bounds by stratum."""

    models: dict[str, Sha256]
    reference: list[dict[str, str]]
    teacher: dict[str, object]
    prompts: dict[str, str]
    rounds: list[dict[str, object]]
    thresholds: list[dict[str, object]]


class Distil(Facts):
    """The budget: models by hash, what was kept by rung and stratum."""

    models: dict[str, Sha256]
    scores: dict[str, float] = Field(description="scores that the budget is filled by, with their weights")
    quality: dict[str, float] = Field(description="scores that `quality` combines, with their weights")
    reference: list[dict[str, str]] | str
    rungs: list[dict[str, object]]
    quotas: list[dict[str, object]]


class Arm(Facts):
    """What models of one arm are worth on held-out text, beside those of as many random tokens."""

    arm: str
    domain: str | None
    control: str | None
    documents: Count
    tokens: Count
    bits_per_byte: float
    retained: float | None
    control_retained: float | None


class Evaluation(Facts):
    """What `curate evaluate` measured."""

    proxy: str
    tables: dict[str, Sha256] = Field(description="hashes of the tables below evaluation/")
    arms: list[Arm]


class Tracking(Facts):
    """Quality stage by stage, measured on a sample while the run went."""

    tables: dict[str, Sha256]
    stages: list[dict[str, object]]


class Retention(Entry):
    """How much quality is kept, always beside a random control."""

    evaluation: Evaluation | None
    tracking: Tracking | None


class Totals(Entry):
    """Of the input and of the output."""

    documents_in: Count
    tokens_in: Count
    bytes_in: Count | None = Field(default=None, description="of text; null: not counted")
    documents_out: Count
    tokens_out: Count
    bytes_out: Count | None = Field(default=None, description="of text; null: not counted")


class RecipeInput(Facts):
    """Of the recipe, which columns matter."""

    text: str
    messages: str | None


class RecipeEntry(Facts):
    """The recipe with all defaults; `curate schema` tells its fields."""

    input: RecipeInput


class Header(Entry):
    """What identifies the file."""

    manifest_version: Literal[1]
    seal: Sha256 = Field(description="of this file without this field: sorted keys, indent 1, UTF-8, a last newline")


class Contents(Entry):
    """What the manifest says of a run, before it is sealed."""

    name: Name
    tool: Tool
    recipe: RecipeEntry = Field(description="without places, such as input.paths and output")
    recipe_digest: Hash = Field(description="of all that can change a kept document")
    inputs: list[InputEntry]
    signal_groups: Annotated[dict[str, str], Field(json_schema_extra={"required": ["documents"]})] = Field(
        description="what was measured, each with a digest of code, parameters and models"
    )
    rules: list[ResolvedRule]
    edits: list[Edit]
    against: list[EarlierRun]
    models: list[LanguageModelEntry]
    language_identification: LanguageIdentification | None
    dedup: DedupEntry
    purify: Purify | None
    distil: Distil | None
    retention: Retention | None
    benchmarks: list[BenchmarkEntry]
    decontamination: Decontamination | None
    stages: list[StageEntry]
    scorecard: list[dict[str, object]] = Field(description="every signal before and after")
    who: WhoEntry | None = Field(default=None, description="who is dropped, by groups of documents")
    tokenizer: str = Field(description="what all tokens are counted by; estimate: by bytes and script")
    totals: Totals
    mixture: dict[str, list[Share]] = Field(
        description="what is kept by language, by domain, and by columns of the input (input.NAME)"
    )
    licenses: list[LicenseEntry]
    synthetic: Synthetic
    schema_: list[SchemaField] = Field(alias="schema", description="the columns of every shard")
    shards: list[Shard]


class Manifest(Contents, Header):
    """What a run took, decided and wrote. The same inputs, recipe and versions give the same bytes."""


def manifest_schema() -> dict[str, object]:
    """The JSON schema of manifest.json."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(by_alias=True),
        "title": f"manifest.json of curate, version {MANIFEST_VERSION}",
    }
