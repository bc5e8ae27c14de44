"""Unpacks and rebuilds random archives, shut into a directory; started by test_storage_fuzz.

Arguments: the directory, the seed, how many. Prints how many of them were sound; any surprise ends
it with a traceback, and the archive lies in the directory as `bad.tar`.
"""

import io
import os
import random
import sys
import tarfile

from naru.kernel.confine import confine, detached_root
from naru.kernel.files import remove_tree
from naru.storage.archive import jobs
from naru.storage.archive.headers import ArchiveError
from naru.storage.archive.output import Output
from naru.storage.archive.reading import Feed, Reader
from naru.storage.archive.recipe import RecipeWriter, rebuild
from naru.storage.archive.tree import Tree
from naru.storage.archive.unpack import Policy, Unpacker, has_layer_payload

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")
ODD = ("a", "b", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh..wh.x", "..", ".", "")
FOLDER = os.O_RDONLY | os.O_DIRECTORY


def random_archive(rng: random.Random) -> bytes:
    """Few names, so that entries collide; some are hostile, some headers are damaged."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=rng.choice((0, 1, 2))) as tar:
        for _ in range(rng.randint(1, 25)):
            parts = [
                rng.choice(ODD if rng.random() < 0.08 else "abc") for _ in range(rng.randint(1, 4))
            ]
            info = tarfile.TarInfo("/".join(parts))
            info.type = rng.choice([b"0"] * 5 + [b"5"] * 3 + [b"2", b"2", b"1", b"3", b"6", b"Q"])
            info.linkname = "/".join(rng.choice(("a", "b", "..", ".", "")) for _ in range(2))
            data = rng.randbytes(rng.randint(0, 2000)) if info.type in (b"0", b"Q") else b""
            info.size, info.mode = len(data), rng.choice((0o644, 0o4755, 0, 0o2777))
            tar.addfile(info, io.BytesIO(data))
    archive = bytearray(out.getvalue())
    if rng.random() < 0.2:
        block = rng.randrange(len(archive) // 512) * 512
        archive[block + rng.choice((0, 100, 124, 136, 156, 157, 345, 386))] = rng.randrange(256)
        archive[block + 148 : block + 156] = b" " * 8
        archive[block + 148 : block + 156] = b"%06o\0 " % sum(archive[block : block + 512])
    return bytes(archive)


def round_trip(archive: bytes, step: int) -> bool:
    """False when the archive was refused, rightly or not; True when it came back to the byte."""
    os.mkdir("/diff")
    os.mkdir("/spill")
    diff, spill = os.open("/diff", FOLDER), os.open("/spill", FOLDER)
    recipe = os.open("/recipe", os.O_RDWR | os.O_CREAT)
    rebuilt = os.open("/rebuilt", os.O_RDWR | os.O_CREAT)
    try:
        writer = RecipeWriter(recipe)
        chunks = (archive[at : at + step] for at in range(0, len(archive), step))
        reader = Reader(Feed(chunks), keep=writer.keep, has_payload=has_layer_payload)
        try:
            unpacked = Unpacker(Tree(diff), Policy(layer=True), spill).run(reader)
        except ArchiveError:
            return False
        reader.drain()
        writer.finish()
        os.lseek(recipe, 0, os.SEEK_SET)
        notes = jobs.decode_notes(jobs.encode_notes(unpacked))
        output = Output(rebuilt, digest=False)
        rebuild(recipe, diff, spill, notes, output)
        output.finish()
        assert os.pread(rebuilt, len(archive) + 1, 0) == archive, "not the same archive"
        return True
    finally:
        for fd in (diff, spill, recipe, rebuilt):
            os.close(fd)
        for name in os.listdir("/"):
            remove_tree("/" + name)


def main() -> None:
    rng = random.Random(int(sys.argv[2]))
    os.umask(0)
    confine(detached_root(os.open(sys.argv[1], FOLDER)), CAPABILITIES)
    sound = 0
    for _ in range(int(sys.argv[3])):
        archive = random_archive(rng)
        try:
            sound += round_trip(archive, rng.choice((1 << 20, 700)))
        except BaseException:
            with open("/bad.tar", "wb") as file:
                file.write(archive)
            raise
    print(sound)


if __name__ == "__main__":
    main()
