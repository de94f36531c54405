"""The forecast of a run, as `curate plan` reports it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from curate.corpus.folders import PassedOver
from curate.epochs import TrainingEpochs
from curate.pipeline.checks.other_languages import OtherLanguage
from curate.pipeline.reuse import Step


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSize:
    """The files of the input and how much they hold."""

    files: int
    quarantined: Sequence[str]
    bad_lines: Mapping[str, int]  # by file
    passed_over: Sequence[PassedOver]
    units: int
    documents: int
    file_bytes: int
    text_bytes: int
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleSize:
    """The size of the sample that the forecast is computed from."""

    documents: int
    text_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A part of the input's documents, estimated from the sample."""

    in_sample: int  # documents of the sample
    share: float  # of the documents
    documents: int
    token_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """The documents that a reason drops."""

    stage: str
    reason: str
    share: Share


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuSeconds:
    """CPU seconds of all processes, by step of the run."""

    start: float
    measure: float
    decide: float
    write: float
    index: float
    purify: float = 0.0
    distil: float = 0.0
    track: float = 0.0
    compile: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryBytes:
    """The most memory that the main process and each worker hold."""

    main: int
    worker: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskBytes:
    """The size of the finished run directory."""

    ledger: int
    output: int
    index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a run will read, reuse, drop and cost."""

    run: str
    input: InputSize
    sample: SampleSize
    steps: Sequence[Step]
    dropped: Sequence[Dropped]  # before duplicates are removed, most frequent reason first
    passing: Share  # what no rule drops
    other_language: OtherLanguage | None
    warnings: Sequence[str]
    tier2: bool
    tier3: bool
    keep_tokens: float | None
    keep_bytes: float | None
    tokenizer: str  # that tokens are counted by
    training: TrainingEpochs | None  # over the output, with train_tokens, as if no document had a weight
    weighted: bool  # whether documents will have weights
    scores: str | None  # which fill the budget and make up `quality`, and why
    bands: str | None  # of the near-duplicate search
    cpu_seconds: CpuSeconds
    minutes: float  # of wall-clock time, if each process has a core to itself
    workers: int
    memory_bytes: MemoryBytes
    disk_bytes: DiskBytes

    def to_json(self) -> dict[str, object]:
        """The fields as `--json` prints them; a dropped share is flat."""
        dropped = [{"stage": row.stage, "reason": row.reason, **asdict(row.share)} for row in self.dropped]
        return asdict(self) | {"dropped": dropped}
