"""How kernels are compiled, and the digest that names their code.

numba's own cache goes stale when a function in another file changes, so the cache folder is named by a digest of all
kernel sources, the numba version and the CPU. The digest without the CPU is the code version of every signal.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])


@cache
def code_digest() -> str:
    """Hex digest of all kernel sources, their tables and the numba version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.*")):
        if path.suffix in (".py", ".npz"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:32]


@cache
def cache_folder() -> str:
    """Where compiled kernels are kept: $CURATE_CACHE, or the user's cache folder, or a temporary one."""
    home = os.environ.get("CURATE_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    cpu = hashlib.sha256((binding.get_host_cpu_name() + binding.get_host_cpu_features().flatten()).encode()).hexdigest()
    name = f"curate/kernels/{code_digest()}-{cpu[:8]}"
    for root in (Path(home).expanduser(), Path(tempfile.gettempdir()) / f"curate-{os.getuid()}"):
        folder = root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return str(folder)
    return tempfile.mkdtemp(prefix="curate-kernels-")


def kernel(function: F) -> F:
    """Compile `function` on its first call, without the GIL, kept on disk for later processes."""
    return _compiled(function)


def leaf(function: F) -> F:
    """As `kernel`, for a function that allocates nothing and is called by kernels very often.

    It does not count references to the arrays it is given, as its caller holds them: the count costs more than a short
    function does.
    """
    return _compiled(function, _nrt=False)


def _compiled(function: F, **options: bool) -> F:
    settings: Any = config
    njit: Any = numba.njit
    before = settings.CACHE_DIR
    settings.CACHE_DIR = cache_folder()
    try:
        compiled: F = njit(nogil=True, cache=True, error_model="numpy", **options)(function)
    finally:
        settings.CACHE_DIR = before
    return compiled


def inline(function: F) -> F:
    """Compile `function` into the kernels that call it."""
    compiled: F = numba.njit(inline="always", error_model="numpy")(function)
    return compiled


def _load_u64(context: Any, data: Any, i: Any) -> Any:  # noqa: ANN401 - numba's protocol
    """Eight bytes of `data` from byte `i` as an integer, the first one lowest: numba has no unaligned load."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(place, align=1)

    return types.uint64(data, types.int64), generate


load_u64: Any = intrinsic(_load_u64)


def _trailing_zeros(context: Any, number: Any) -> Any:  # noqa: ANN401 - numba's protocol
    """How many of the lowest bits of a 64-bit number are 0; 64 for 0: numba has no public name for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


trailing_zeros: Any = intrinsic(_trailing_zeros)


def is_compiled(name: str) -> bool:
    """Whether an earlier process compiled the kernels behind a signal group or an edit and left them on the disk."""
    return (Path(cache_folder()) / f"compiled-{name}").exists()


def mark_compiled(name: str) -> None:
    """Note that the kernels behind a signal group or an edit are on the disk."""
    (Path(cache_folder()) / f"compiled-{name}").touch()
