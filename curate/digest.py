"""Identity of values and of code: hex digests of all that a result depends on.

A result that is kept names the digest of its inputs and of the code that made it. It is taken up again while that
digest is the same. Code counts by whole packages and modules, so that what a function calls counts with it;
`tests/project/test_digest.py` compares the tuples below with what the modules import.
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
READING = ("curate.corpus", "curate.maps.reading")
# What gives texts a perplexity.
LANGUAGE_MODELS = ("curate.filters.language",)
# What a recipe's fields mean: digests hold their values, and not what is computed from these.
RECIPE = ("curate.recipe", "curate.filters.rules")
# How a language model is asked.
TEACHING = ("curate.distill.teacher",)
# What bad texts are made of good ones by.
ATTACKING = ("curate.distill.attacks", "curate.distill.text")
# What scores texts.
SCORING = ("curate.distill.scoring",)
# What the models of tier 2 and of a budget are trained on and by.
MODELS = (
    "curate.distill.purify", "curate.distill.budget", "curate.distill.reference", "curate.distill.draws",
    "curate.maps.documents", *TEACHING, *ATTACKING, *SCORING, *READING,
)  # fmt: skip
# The cascade of verdicts, from signals to decisions.
DECIDING = (
    "curate.decide", "curate.dedup", "curate.distill.purify", "curate.distill.budget", "curate.distill.scoring_stage",
    "curate.pipeline.text_reader", "curate.ledger.views", "curate.sql", "curate.filters.registry",
    "curate.filters.coarse_score", "curate.filters.signals.hashes", *RECIPE,
)  # fmt: skip
# The third tier.
WRITING = ("curate.distill.augment", "curate.pipeline.augment", "curate.distill.lora", "curate.distill.leaks")
# LoRA adapters.
ADAPTERS = ("curate.distill.lora", "curate.distill.text", "curate.distill.schedule")
# The models of an evaluation: n-grams, and transformers.
NGRAMS = ("curate.distill.evaluate.tokens", "curate.distill.evaluate.proxy_ngram", *LANGUAGE_MODELS)
TRANSFORMERS = (
    "curate.distill.evaluate.tokens", "curate.distill.evaluate.proxy_transformer", "curate.distill.schedule",
)  # fmt: skip
# What an evaluation trains on and asks.
EVALUATING = (
    "curate.distill.evaluate", "curate.pipeline.evaluate", "curate.pipeline.ablate", "curate.distill.augment.domains",
    "curate.distill.draws", "curate.distill.leaks", "curate.distill.schedule", *LANGUAGE_MODELS, *READING,
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
