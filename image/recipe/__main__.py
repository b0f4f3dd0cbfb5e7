"""Command line of the image; `make image` calls it through image/image.

image build [--keyring FILE]                    levee-VERSION.img.zst, .raucb, .packages, SHA256SUMS in .build/image
image again [--keyring FILE]                    build the same commit again, compiling anew, and say what differs
image deb                                       the Debian package for this Debian, in .build/deb
image clean                                     forget the trees; the next build installs today's packages
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

from guest.layout import GuestError, locked, say
from guest.product import forget_product
from guest.userland import ensure_built

from recipe import bundle, contents, deb, disk, slot, trees
from recipe.bundle import TEST_CERTIFICATE, TEST_KEY
from recipe.places import CACHE, MIB, OUT, release


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="image", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="make the image and the update bundle")
    again = verbs.add_parser("again", help="build once more, and compare")
    for verb in (build, again):
        verb.add_argument("--keyring", type=Path, default=TEST_CERTIFICATE, metavar="FILE", help="who may sign updates")
    build.add_argument("--key", type=Path, default=TEST_KEY, metavar="FILE", help="signs this build's bundle")
    build.add_argument("--certificate", type=Path, default=TEST_CERTIFICATE, metavar="FILE", help="of that key")
    verbs.add_parser("deb", help="make the Debian package")
    verbs.add_parser("clean", help="forget the trees")
    return parser.parse_args()


def _contents(root: Path, image: Path) -> dict[str, str]:
    say("listing the contents")
    return contents.of_disk(image) | contents.of_root(root)


def _again(arguments: argparse.Namespace) -> None:
    """Signatures carry their time and bundles a salt: the update is not compared, the slot that it carries is."""
    what = release()
    listed = OUT / f"{what.name}.contents"
    if not listed.exists():
        raise GuestError(f"there is no build of {what.version} to compare with", "make image")
    forget_product(ensure_built())
    ready = trees.ensure()
    image = disk.build(ready, what, slot.build(ready, what, arguments.keyring))
    found = contents.differences(contents.parse(listed.read_text()), _contents(ready.work.root, image))
    if found:
        more = f"\n... and {len(found) - contents.SHOWN} more" if len(found) > contents.SHOWN else ""
        raise GuestError("two builds of one commit differ:\n" + "\n".join(found[: contents.SHOWN]) + more)
    say(f"two builds of {what.version} are equal, byte for byte")


def _build(arguments: argparse.Namespace) -> None:
    begin_s = time.monotonic()
    what = release()
    ready = trees.ensure()
    made = slot.build(ready, what, arguments.keyring)
    image = disk.build(ready, what, made)
    update = bundle.build(ready, what, made, arguments.key, arguments.certificate)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    shutil.copy(ready.work.root / "usr/share/levee/packages.txt", OUT / f"{what.name}.packages")
    shutil.copy(update, OUT / f"{what.name}.raucb")
    (OUT / f"{what.name}.contents").write_text(contents.text(_contents(ready.work.root, image)))
    target = OUT / f"{what.name}.img"
    subprocess.run(["cp", "--sparse=always", str(image), str(target)], check=True)
    subprocess.run(["zstd", "-q", "-f", "-T0", "-9", str(target), "-o", f"{target}.zst"], check=True)
    sums = [
        f"{hashlib.file_digest(path.open('rb'), 'sha256').hexdigest()}  {path.name}" for path in sorted(OUT.iterdir())
    ]
    (OUT / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    for path in sorted(OUT.iterdir()):
        say(f"{path.relative_to(OUT.parents[1])}: {path.stat().st_size / MIB:.1f} MiB")
    if arguments.keyring == TEST_CERTIFICATE:
        say("this image believes updates that the public test key has signed: for trying out, not for a network")
    say(f"ready after {time.monotonic() - begin_s:.0f} s")


def _main() -> int:
    arguments = _arguments()
    if arguments.verb == "deb":
        deb.build(release())
        return 0
    with locked():
        if arguments.verb == "clean":
            shutil.rmtree(CACHE, ignore_errors=True)
        elif arguments.verb == "again":
            _again(arguments)
        else:
            _build(arguments)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(_main())
    except GuestError as error:
        say(f"error: {error}")
        if error.hint:
            say(f"hint: {error.hint}")
        sys.exit(125)
    except KeyboardInterrupt:
        sys.exit(130)
