"""Identity of values and of code: hex digests of all that a result depends on.

A result that is kept names the digest of its inputs and of the code that made it. It is taken up again while that
digest is the same. Code counts by whole packages and modules, so that what a function calls counts with it;
`tests/test_digest.py` compares the tuples below with what the modules import.
"""

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent
KERNELS = "curate.kernels"

# How rows are read, and how their columns are cast and edited: each value that is measured passes through.
READING = ("curate.corpus", "curate.columns", "curate.casts", "curate.cast_sql", "curate.edits")
# What gives texts a perplexity.
LANGUAGE_MODELS = (
    "curate.filters.perplexity", "curate.filters.language_model", "curate.filters.forms", "curate.filters.packed_model",
    "curate.filters.kenlm_binary", "curate.filters.ngram_lm", "curate.filters.language",
)  # fmt: skip
# What a recipe's fields mean: digests hold their values, and not what is computed from these.
RECIPE = ("curate.recipe", "curate.sections", "curate.fields", "curate.domains", "curate.teachers", "curate.rules")
# How a language model is asked.
TEACHING = (
    "curate.distill.teacher", "curate.distill.asking", "curate.distill.requests", "curate.distill.decoding",
    "curate.distill.encoding", "curate.distill.labels", "curate.distill.structured", "curate.distill.prompts",
    "curate.distill.openai_api", "curate.distill.http", "curate.distill.local_model", "curate.distill.vllm_client",
    "curate.distill.vllm_engine", "curate.distill.serve", "curate.distill.weights",
)  # fmt: skip
# What bad texts are made of good ones by.
ATTACKING = (
    "curate.distill.attacks", "curate.distill.attacks_boilerplate", "curate.distill.attacks_claims",
    "curate.distill.attacks_facts", "curate.distill.attacks_filler", "curate.distill.attacks_form",
    "curate.distill.attacks_noise", "curate.distill.attacks_order", "curate.distill.attacks_repetition",
    "curate.distill.attacks_spam", "curate.distill.attacks_tone", "curate.distill.changes", "curate.distill.templates",
    "curate.distill.phrases", "curate.distill.written", "curate.distill.replies", "curate.distill.chunks",
    "curate.distill.facts", "curate.distill.number_words", "curate.distill.passages", "curate.distill.proper_names",
    "curate.distill.quantities",
)  # fmt: skip
# What scores texts.
SCORING = (
    "curate.distill.discriminator", "curate.distill.likeness", "curate.distill.importance", "curate.distill.grades",
    "curate.distill.linear_model", "curate.distill.model_file", "curate.distill.vectors",
    "curate.distill.static_vectors", "curate.distill.clusters", "curate.distill.surface", "curate.distill.evidence",
    "curate.distill.calibration",
)  # fmt: skip
# What the models of tier 2 and of a budget are trained on and by.
MODELS = (
    "curate.training", "curate.scorers", "curate.reference", "curate.texts", "curate.mining", "curate.distill.purify",
    "curate.distill.judge", "curate.distill.conformal", "curate.distill.draws", *TEACHING, *ATTACKING, *SCORING,
    *READING,
)  # fmt: skip
# The cascade of verdicts, from signals to decisions.
DECIDING = (
    "curate.decide", "curate.verdicts", "curate.tables", "curate.checks", "curate.bands", "curate.sql", "curate.near",
    "curate.near_maps", "curate.copies", "curate.lines", "curate.earlier", "curate.mining", "curate.purify",
    "curate.distil", "curate.budget", "curate.choose", "curate.layers", "curate.rescored", "curate.maps",
    "curate.distill.conformal", "curate.distill.histogram", "curate.distill.select", "curate.filters.registry",
    "curate.filters.coarse_score", "curate.filters.duplicates", "curate.filters.rules", *RECIPE,
)  # fmt: skip
# The third tier.
WRITING = (
    "curate.augment", "curate.augmented", "curate.members", "curate.candidates", "curate.adapters",
    "curate.distill.augment", "curate.distill.leaks",
)  # fmt: skip
# LoRA adapters.
ADAPTERS = ("curate.distill.adapters", "curate.distill.lora", "curate.distill.chunks", "curate.distill.schedule")
# The models of an evaluation: n-grams, and transformers.
NGRAMS = (
    "curate.distill.encoded", "curate.distill.proxy_ngram", "curate.filters.ngram_lm", "curate.filters.kenlm_binary",
)  # fmt: skip
TRANSFORMERS = ("curate.distill.encoded", "curate.distill.proxy_transformer", "curate.distill.schedule")
# What an evaluation trains on and asks.
EVALUATING = (
    "curate.arms", "curate.arms_written", "curate.ablate", "curate.evaluate", "curate.heldout", "curate.prepared",
    "curate.tracking", "curate.members", "curate.distill.draws", "curate.distill.evaluate", "curate.distill.leaks",
    "curate.distill.retention", *NGRAMS, *TRANSFORMERS, *READING,
)  # fmt: skip


def digest_of(value: object) -> str:
    """Hex digest (128 bits of SHA-256) of a value as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


@cache
def code_of(*names: str, root: Path = ROOT) -> str:
    """Hex digest of packages, with all their files and folders, and of modules; of all kernels, where one calls any.

    A module names in PARTS further modules that count with it, and in LIBRARIES distributions whose data or rules
    decide what it finds: their versions count too.

    Errors: ValueError for a name that is neither a package nor a module of `curate`.
    """
    files = _read(names, root)
    libraries = {library for code in files.values() for library in _named(code, "LIBRARIES")}
    if any(KERNELS.encode() in code for code in files.values()):
        files |= _read([KERNELS], root)
        libraries.add("numba")
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    for library in sorted(libraries):
        digest.update(f"{library} {_version(library)}\n".encode())
    return digest.hexdigest()[:32]


def _read(names: Iterable[str], root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files_of(names, root)}


def files_of(names: Iterable[str], root: Path = ROOT) -> set[Path]:
    """The files of packages and modules of `curate`, which lies at `root`, and of the modules that these name."""
    found: set[Path] = set()
    todo = list(names)
    while todo:
        for path in _files(todo.pop(), root) - found:
            found.add(path)
            todo += _named(path.read_bytes(), "PARTS") if path.suffix == ".py" else ()
    return found


def _files(name: str, root: Path) -> set[Path]:
    place = root.joinpath(*name.split(".")[1:])
    module = place.with_name(f"{place.name}.py")
    found = {path for path in (module, *place.rglob("*")) if path.is_file() and "__pycache__" not in path.parts}
    if not found or not name.startswith("curate."):
        raise ValueError(f"{name} is neither a package nor a module of curate")
    return found


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # of an extra
        return "absent"


def _named(code: bytes, name: str) -> tuple[str, ...]:
    """What a module lists under a name at its top."""
    if f"\n{name} = (".encode() not in code:
        return ()
    assigned = (node for node in ast.parse(code).body if isinstance(node, ast.Assign))
    return next(tuple(ast.literal_eval(node.value)) for node in assigned if ast.unparse(node.targets[0]) == name)
