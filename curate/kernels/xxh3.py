"""Compute xxh3_64 (Yann Collet's XXH3, 64 bits, seed 0) inside kernels, where a call of the C library costs more.

Reference: the specification in xxHash's repository, doc/xxhash_spec.md.
"""

import numpy as np

from curate.kernels.jit import fold_product, inline, kernel, load_u8_at, load_u32_at, load_u64_at, part

SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
        "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d"
        "8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc"
        "8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    np.uint8,
)
PRIME32_1, PRIME32_2, PRIME32_3 = np.uint64(0x9E3779B1), np.uint64(0x85EBCA77), np.uint64(0xC2B2AE3D)
PRIME64_1, PRIME64_2 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F)
PRIME64_3, PRIME64_4 = np.uint64(0x165667B19E3779F9), np.uint64(0x85EBCA77C2B2AE63)
PRIME64_5, PRIME_MX1 = np.uint64(0x27D4EB2F165667C5), np.uint64(0x165667919E3779F9)
PRIME_MX2 = np.uint64(0x9FB21C651E98DF25)
LANES = np.array(
    [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1], dtype=np.uint64
)
LOW = np.uint64(0xFFFFFFFF)
STRIPE, STRIPES = 64, 16  # bytes per stripe, stripes per block
LAST_SECRET = len(SECRET) - STRIPE


def _secret(i: int) -> np.uint64:
    return np.frombuffer(SECRET[i : i + 8].tobytes(), np.uint64)[0]


SECRETS = np.array([_secret(i) for i in range(len(SECRET) - 7)], dtype=np.uint64)  # eight bytes at each offset
FLIP_1TO3 = (_secret(0) & LOW) ^ (_secret(0) >> np.uint64(32))
FLIP_4TO8 = _secret(8) ^ _secret(16)
FLIP_LOW, FLIP_HIGH = _secret(24) ^ _secret(32), _secret(40) ^ _secret(48)
FLIP_EMPTY = _secret(56) ^ _secret(64)


@kernel
def xxh3_64(begin: int, size: int) -> int:
    """Hash `size` bytes at the memory address `begin` (such as `array.ctypes.data`) to a uint64.

    Oracle: `xxhash.xxh3_64_intdigest` (tests/kernels/test_minhash.py).
    """
    length = np.uint64(size)
    if size > 16:
        if size > 128:
            return _up_to_240(begin, size) if size <= 240 else _long(begin, size)
        end = begin + size
        total = length * PRIME64_1
        if size > 32:
            if size > 64:
                if size > 96:
                    total += _mix(begin + 48, 96) + _mix(end - 64, 112)
                total += _mix(begin + 32, 64) + _mix(end - 48, 80)
            total += _mix(begin + 16, 32) + _mix(end - 32, 48)
        return _avalanche(total + _mix(begin, 0) + _mix(end - 16, 16))
    if size > 8:
        low, high = load_u64_at(begin) ^ FLIP_LOW, load_u64_at(begin + size - 8) ^ FLIP_HIGH
        return _avalanche(length + _swapped(low) + high + fold_product(low, high))
    if size >= 4:
        h = (load_u32_at(begin + size - 4) + (load_u32_at(begin) << np.uint64(32))) ^ FLIP_4TO8
        h ^= (h << np.uint64(49) | h >> np.uint64(15)) ^ (h << np.uint64(24) | h >> np.uint64(40))
        h *= PRIME_MX2
        h ^= (h >> np.uint64(35)) + length
        h *= PRIME_MX2
        return h ^ (h >> np.uint64(28))
    if size > 0:
        h = load_u8_at(begin) << np.uint64(16) | load_u8_at(begin + size // 2) << np.uint64(24)
        h |= load_u8_at(begin + size - 1) | length << np.uint64(8)
        return _avalanche_64(h ^ FLIP_1TO3)
    return _avalanche_64(FLIP_EMPTY)


@inline
def _mix(i: int, s: int) -> int:
    return fold_product(load_u64_at(i) ^ SECRETS[s], load_u64_at(i + 8) ^ SECRETS[s + 8])


@inline
def _avalanche(h: int) -> int:
    h ^= h >> np.uint64(37)
    h *= PRIME_MX1
    return h ^ (h >> np.uint64(32))


@inline
def _avalanche_64(h: int) -> int:
    h ^= h >> np.uint64(33)
    h *= PRIME64_2
    h ^= h >> np.uint64(29)
    h *= PRIME64_3
    return h ^ (h >> np.uint64(32))


@part
def _swapped(h: int) -> int:
    """Reverse the order of the bytes of a number."""
    swapped = np.uint64(0)
    for k in range(8):
        swapped = swapped << np.uint64(8) | ((h >> np.uint64(8 * k)) & np.uint64(0xFF))
    return swapped


@part
def _up_to_240(begin: int, size: int) -> int:
    total = np.uint64(size) * PRIME64_1
    for k in range(8):
        total += _mix(begin + 16 * k, 16 * k)
    total = _avalanche(total)
    for k in range(8, size // 16):
        total += _mix(begin + 16 * k, 16 * (k - 8) + 3)
    return _avalanche(total + _mix(begin + size - 16, 136 - 17))


@part
def _long(begin: int, size: int) -> int:
    total = np.uint64(size) * PRIME64_1
    for k in range(0, 8, 2):
        first, second = _lane(begin, size, k), _lane(begin, size, k + 1)
        total += fold_product(first ^ SECRETS[11 + 8 * k], second ^ SECRETS[19 + 8 * k])
    return _avalanche(total)


@part
def _lane(begin: int, size: int, k: int) -> int:
    """One of the eight accumulators over stripes of 64 bytes, which are independent of each other."""
    lane = LANES[k]
    blocks = (size - 1) // (STRIPE * STRIPES)
    for block in range(blocks):
        for stripe in range(STRIPES):
            lane += _stripe(begin + (block * STRIPES + stripe) * STRIPE, k, 8 * stripe)
        lane = (lane ^ (lane >> np.uint64(47)) ^ SECRETS[LAST_SECRET + 8 * k]) * PRIME32_1
    rest = blocks * STRIPES * STRIPE
    for stripe in range((size - 1 - rest) // STRIPE):
        lane += _stripe(begin + rest + stripe * STRIPE, k, 8 * stripe)
    return lane + _stripe(begin + size - STRIPE, k, LAST_SECRET - 7)


@part
def _stripe(i: int, k: int, s: int) -> int:
    keyed = load_u64_at(i + 8 * k) ^ SECRETS[s + 8 * k]
    return load_u64_at(i + 8 * (k ^ 1)) + (keyed & LOW) * (keyed >> np.uint64(32))
