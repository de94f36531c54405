"""Flipping bits of files and cutting them short, at places that are drawn."""

import shutil

from support.runs import digests

from curate.ledger.ledger import read_ledger


def files_of(run):
    """Every file of a run directory but its lock and its log, with its path below it."""
    found = [path for path in run.rglob("*") if path.is_file() and path.name not in ("lock", "run.log")]
    return sorted(path.relative_to(run).as_posix() for path in found if path.stat().st_size)


def promised(run):
    """What is promised of a run: the parts in force, the output and the manifest, by their hashes."""
    in_force = {part.path for part in read_ledger(run).parts} | {"manifest.json"}
    return {name: sha256 for name, sha256 in digests(run).items() if name in in_force}


def damage(path, random):
    """Flip a bit of a file, overwrite some of it, or cut it short; returns what was done."""
    data = bytearray(path.read_bytes())
    place = random.randrange(len(data))
    kind = random.choice(["flipped", "flipped", "overwritten", "cut"])
    if kind == "flipped":
        data[place] ^= 1 << random.randrange(8)
    elif kind == "overwritten":
        some = random.randbytes(min(16, len(data) - place))
        some = some if some != data[place : place + 16] else bytes(len(some))
        data[place : place + len(some)] = some
    else:
        del data[place:]
    path.write_bytes(data)
    return f"{kind} at {place}"


def copy_of(run, place):
    """A copy of a run directory in `place`, with times as they were."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(run, place)
    return place
