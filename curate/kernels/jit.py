"""Compilation of kernels, and the digest that identifies their code.

numba's own cache goes stale when a function in another file changes. Therefore the cache folder is named by a digest of
all kernel sources, the numba version and the CPU. The digest without the CPU is the code version of every signal.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

from curate.cache import cache_folder

F = TypeVar("F", bound=Callable[..., Any])
# No reference counting; numba has no public option for it.
UNCOUNTED: Any = {"_nrt": False, "error_model": "numpy"}


@cache
def code_digest() -> str:
    """Hex digest of all kernel sources, their tables and the numba version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.*")):
        if path.suffix in (".py", ".npz"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:32]


@cache
def kernel_folder() -> str:
    """Cache folder of compiled kernels."""
    cpu = hashlib.sha256((binding.get_host_cpu_name() + binding.get_host_cpu_features().flatten()).encode()).hexdigest()
    return str(cache_folder(f"kernels/{code_digest()}-{cpu[:8]}"))


def kernel(function: F) -> F:
    """Compile `function` on its first call, to run without the GIL; cache it on disk for later processes."""
    settings: Any = config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = kernel_folder()
    try:
        compiled: F = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    finally:
        settings.CACHE_DIR = before
    return compiled


def part(function: F) -> F:
    """Compile `function` as a part of kernels, which alone may call it. It must neither create nor return arrays.

    It counts no references to its arrays: two atomic additions per array and call would cost more than most parts.
    """
    compiled: F = numba.njit(**UNCOUNTED)(function)
    return compiled


def inline(function: F) -> F:
    """Compile `function` like `part`, inlined at each call."""
    compiled: F = numba.njit(**UNCOUNTED, forceinline=True)(function)
    return compiled


def _load_u64(context: Any, data: Any, i: Any) -> Any:  # noqa: ANN401 - numba's protocol
    """Load eight bytes of `data` from byte `i` as a little-endian integer: numba has no unaligned load."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(place, align=1)

    return types.uint64(data, types.int64), generate


load_u64: Any = intrinsic(_load_u64)


def _load_at(bits: int) -> Any:  # noqa: ANN401 - numba's protocol
    """Make an intrinsic that loads a little-endian number of `bits` bits from a memory address.

    It is for functions too large to inline: with an array as argument, each call would count references to it, which
    costs more than hashing a few words.
    """

    def load(context: Any, address: Any) -> Any:  # noqa: ANN401
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
            place = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            number = builder.load(place, align=1)
            return number if bits == 64 else builder.zext(number, ir.IntType(64))

        return types.uint64(types.int64), generate

    return intrinsic(load)


load_u8_at, load_u32_at, load_u64_at = (_load_at(bits) for bits in (8, 32, 64))


def _store_u64(context: Any, data: Any, i: Any, number: Any) -> Any:  # noqa: ANN401 - numba's protocol
    """Store an integer in eight bytes of `data` from byte `i`, in little-endian order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], place, align=1)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), generate


store_u64: Any = intrinsic(_store_u64)


def _trailing_zeros(context: Any, number: Any) -> Any:  # noqa: ANN401 - numba's protocol
    """Count the trailing zero bits of a 64-bit number, 64 for 0: numba has no public function for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


trailing_zeros: Any = intrinsic(_trailing_zeros)


def _fold_product(context: Any, a: Any, b: Any) -> Any:  # noqa: ANN401 - numba's protocol
    """XOR the two halves of the 128-bit product of two 64-bit numbers: numba has no 128-bit type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        wide, narrow = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), narrow)
        return builder.xor(builder.trunc(product, narrow), high)

    return types.uint64(types.uint64, types.uint64), generate


fold_product: Any = intrinsic(_fold_product)


def is_compiled(name: str) -> bool:
    """Whether an earlier process compiled the kernels of a signal group or an edit and cached them on disk."""
    return (Path(kernel_folder()) / f"compiled-{name}").exists()


def mark_compiled(name: str) -> None:
    """Record that the kernels of a signal group or an edit are cached on disk."""
    (Path(kernel_folder()) / f"compiled-{name}").touch()
