"""Identity of values and of code: hex digests of all that a result depends on.

A stored result records the digest of its inputs and of the code that made it, and is reused while that digest is the
same. Code is hashed by whole packages and modules, so the functions that a function calls are included;
`tests/project/test_digest.py` compares the tuples below with the modules' imports.
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

# Reading rows, casting their columns and editing their texts: all measured values depend on it.
READING = ("curate.corpus", "curate.maps.reading")
# Perplexity of texts.
LANGUAGE_MODELS = ("curate.filters.language",)
# The meaning of recipe fields: digests contain their values, not what is computed from these.
RECIPE = ("curate.recipe", "curate.filters.rules")
# Requests to a language model.
TEACHING = ("curate.distill.teacher",)
# Corrupting good texts.
ATTACKING = ("curate.distill.attacks", "curate.distill.text")
# Models that score texts.
SCORING = ("curate.distill.scoring",)
# Training the models of tier 2 and of a budget, and sampling the texts they are trained on.
MODELS = (
    "curate.distill.purify",
    "curate.distill.budget",
    "curate.distill.reference",
    "curate.distill.draws",
    "curate.maps.documents",
    *TEACHING,
    *ATTACKING,
    *SCORING,
    *READING,
)
# The cascade of verdicts, from signals to decisions.
DECIDING = (
    "curate.decide",
    "curate.dedup",
    "curate.distill.purify",
    "curate.distill.budget",
    "curate.distill.scoring_stage",
    "curate.pipeline.text_reader",
    "curate.ledger.views",
    "curate.sql",
    "curate.filters.registry",
    "curate.filters.coarse_score",
    "curate.filters.signals.hashes",
    *RECIPE,
)
# The third tier.
WRITING = ("curate.distill.augment", "curate.pipeline.augment", "curate.distill.lora", "curate.distill.leaks")
# LoRA adapters.
ADAPTERS = ("curate.distill.lora", "curate.distill.text", "curate.distill.schedule")
# The models of an evaluation: n-grams, and transformers.
NGRAMS = ("curate.distill.evaluate.tokens", "curate.distill.evaluate.proxy_ngram", *LANGUAGE_MODELS)
TRANSFORMERS = (
    "curate.distill.evaluate.tokens",
    "curate.distill.evaluate.proxy_transformer",
    "curate.distill.schedule",
)
# Sampling the texts of an evaluation, and training and testing its models.
EVALUATING = (
    "curate.distill.evaluate",
    "curate.pipeline.evaluate",
    "curate.pipeline.ablate",
    "curate.distill.augment.domains",
    "curate.distill.draws",
    "curate.distill.leaks",
    "curate.distill.schedule",
    *LANGUAGE_MODELS,
    *READING,
)


def digest_of(value: object) -> str:
    """Hex digest (128 bits of SHA-256) of a value as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


@cache
def code_of(*names: str, root: Path = ROOT) -> str:
    """Hex digest of packages, with all their files, and of modules; with all kernels if any of them uses kernels.

    A module lists in PARTS further modules to include, and in LIBRARIES distributions whose data or rules determine
    its results; their versions are included.

    Errors: ValueError for a name that is neither a package nor a module of `curate`.
    """
    files = _read(names, root)
    libraries = {library for code in files.values() for library in _listed(code, "LIBRARIES")}
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
    """The files of packages and modules of `curate`, whose folder is `root`, and of the modules in their PARTS."""
    files: set[Path] = set()
    pending = list(names)
    while pending:
        for path in _files(pending.pop(), root) - files:
            files.add(path)
            pending += _listed(path.read_bytes(), "PARTS") if path.suffix == ".py" else ()
    return files


def _files(name: str, root: Path) -> set[Path]:
    package = root.joinpath(*name.split(".")[1:])
    module = package.with_name(f"{package.name}.py")
    files = {path for path in (module, *package.rglob("*")) if path.is_file() and "__pycache__" not in path.parts}
    if not files or not name.startswith("curate."):
        raise ValueError(f"{name} is neither a package nor a module of curate")
    return files


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # an extra that is not installed
        return "absent"


def _listed(code: bytes, name: str) -> tuple[str, ...]:
    """The items of a module's top-level tuple of strings with this name."""
    if f"\n{name} = (".encode() not in code:
        return ()
    assigned = (node for node in ast.parse(code).body if isinstance(node, ast.Assign))
    return next(tuple(ast.literal_eval(node.value)) for node in assigned if ast.unparse(node.targets[0]) == name)
