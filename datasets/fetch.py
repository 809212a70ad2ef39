#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fetches public ann-benchmarks files into datasets/public/.

    python3 datasets/fetch.py --list
    python3 datasets/fetch.py sift-128-euclidean glove-100-angular

A broken transfer goes on where it stopped. A file has a temporary name until it is whole and its
SHA-256 is the one asked for (--sha256) or the one recorded at the first fetch (public.sha256 beside
this script). The first fetch of a file has nothing to compare with: it records.
Exit status: 0 done, 1 not fetched or not as expected, 2 wrong arguments, 130 interrupted.
"""

import argparse
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
BASE_URL = "http://ann-benchmarks.com"
NAMES = (
    "sift-128-euclidean",
    "glove-25-angular",
    "glove-50-angular",
    "glove-100-angular",
    "glove-200-angular",
    "gist-960-euclidean",
    "deep-image-96-angular",
    "nytimes-256-angular",
    "fashion-mnist-784-euclidean",
    "mnist-784-euclidean",
    "lastfm-64-dot",
)
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
BLOCK = 1 << 20


class FetchError(Exception):
    """Something the user should read; the message says what was expected and what was found."""


class PlainBar:
    """What tqdm does, as far as needed: a bar on a terminal, a line every tenth elsewhere."""

    def __init__(self, total, initial, desc):
        self.total, self.done, self.desc = total, initial, desc
        self.terminal = sys.stderr.isatty()
        self.shown = -1
        self.update(0)

    def update(self, count):
        self.done += count
        share = self.done / self.total if self.total else 1.0
        step = int(share * (100 if self.terminal else 10))
        if step == self.shown:
            return
        self.shown = step
        megabytes = f"{self.done / 1e6:,.1f} of {self.total / 1e6:,.1f} MB"
        if self.terminal:
            filled = int(share * 30)
            bar = "#" * filled + "-" * (30 - filled)
            print(f"\r{self.desc} [{bar}] {share:4.0%} {megabytes}", end="", file=sys.stderr)
        else:
            print(f"{self.desc} {share:4.0%} {megabytes}", file=sys.stderr)
        sys.stderr.flush()

    def close(self):
        if self.terminal:
            print(file=sys.stderr)


class NoBar:
    """--quiet."""

    def update(self, count):
        pass

    def close(self):
        pass


def make_bar(quiet, total, initial, desc):
    if quiet:
        return NoBar()
    try:
        from tqdm import tqdm
    except ImportError:
        return PlainBar(total, initial, desc)
    return tqdm(total=total, initial=initial, desc=desc, unit="B", unit_scale=True)


def sha256_of(path, quiet):
    digest = hashlib.sha256()
    bar = make_bar(quiet, path.stat().st_size, 0, f"check {path.name}")
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    bar.close()
    return digest.hexdigest()


class Lock:
    """The recorded checksums, in sha256sum's own format."""

    def __init__(self, path):
        self.path = path
        self.entries = {}
        if path.exists():
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = re.fullmatch(r"([0-9a-f]{64})  (\S+)", line)
                if not match:
                    raise FetchError(
                        f"{path}, line {number}: expected '<64 hex digits>  <file>', found {line!r}"
                    )
                self.entries[pathlib.PurePosixPath(match[2]).name] = (match[1], match[2])

    def get(self, file_name):
        return self.entries.get(file_name, (None, None))[0]

    def record(self, file_name, checksum):
        self.entries[file_name] = (checksum, f"public/{file_name}")
        temporary = self.path.with_name(self.path.name + ".tmp")
        lines = (f"{value}  {name}\n" for value, name in sorted(self.entries.values(), key=lambda e: e[1]))
        temporary.write_text("".join(lines))
        os.replace(temporary, self.path)


class Transfer:
    """One file on its way: NAME.part holds the bytes so far, NAME.part.json what they are part of."""

    def __init__(self, url, target, timeout, quiet):
        self.url, self.target, self.timeout, self.quiet = url, target, timeout, quiet
        self.part = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")

    def discard(self):
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def known(self):
        """(bytes at hand, note about them); (0, {}) where they can't be trusted to be of this URL."""
        try:
            note = json.loads(self.note.read_text())
            size = self.part.stat().st_size
        except (OSError, ValueError):
            return 0, {}
        if note.get("url") != self.url or not note.get("total") or size > note["total"]:
            return 0, {}
        return size, note

    def run(self):
        """One attempt. Returns when the part is whole; raises FetchError when it can't become so,
        OSError or HTTPException when another attempt may go on from what there is."""
        size, note = self.known()
        if size and size == note["total"]:
            return
        request = urllib.request.Request(self.url, headers={"User-Agent": "rotorquant-fetch"})
        if size:
            request.add_header("Range", f"bytes={size}-")
            if note.get("validator"):
                # The server then sends the rest only of the same file, else a new one whole.
                request.add_header("If-Range", note["validator"])
        try:
            response = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:
                self.discard()
                raise ConnectionError("the server has fewer bytes than this part: starting anew")
            if error.code >= 500 or error.code in (408, 429):
                raise ConnectionError(f"HTTP {error.code} {error.reason}") from error
            raise FetchError(f"{self.url}: HTTP {error.code} {error.reason}") from error
        with response:
            begin, total = self.range_of(response, size)
            if begin and total != note["total"]:
                self.discard()
                raise ConnectionError(
                    f"the file had {note['total']} bytes and has {total} now: starting anew"
                )
            # A weak ETag doesn't promise equal bytes, which is what If-Range needs.
            tag = response.headers.get("ETag", "")
            validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
            if not begin:
                self.part.unlink(missing_ok=True)
                note = {"url": self.url, "total": total, "validator": validator}
                self.note.write_text(json.dumps(note))
            self.need_space(total - begin)
            self.copy(response, begin, total)

    def range_of(self, response, size):
        """(first byte, total bytes) of what the server is about to send."""
        if response.status == 206:
            text = response.headers.get("Content-Range", "")
            match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text)
            if not match or int(match[1]) != size:
                raise FetchError(
                    f"{self.url}: expected the bytes from {size} on, received Content-Range {text!r}"
                )
            return size, int(match[3])
        length = response.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) == 0:
            raise FetchError(f"{self.url}: expected a Content-Length, received {length!r}")
        return 0, int(length)

    def need_space(self, count):
        free = shutil.disk_usage(self.part.parent).free
        if free < count:
            raise FetchError(f"{self.part.parent}: expected {count} free bytes, found {free}")

    def copy(self, response, begin, total):
        bar = make_bar(self.quiet, total, begin, self.target.name)
        done = begin
        try:
            with open(self.part, "ab") as out:
                while block := response.read(min(BLOCK, total - done) or 1):
                    out.write(block)
                    done += len(block)
                    bar.update(len(block))
        finally:
            bar.close()
        if done < total:
            raise ConnectionError(f"the connection ended at {done} of {total} bytes")


def check(path, lock, expected, quiet, shown_as):
    """Raises FetchError unless the file is HDF5 and has the checksum that it must have."""
    with open(path, "rb") as file:
        begin = file.read(len(HDF5_SIGNATURE))
    if begin != HDF5_SIGNATURE:
        raise FetchError(f"{shown_as}: expected an HDF5 file, received one that begins with {begin!r}")
    found = sha256_of(path, quiet)
    recorded = lock.get(shown_as)
    for wanted, origin in ((expected, "--sha256"), (recorded, str(lock.path))):
        if wanted and wanted != found:
            raise FetchError(f"{shown_as}: expected SHA-256 {wanted} ({origin}), received {found}")
    return found, recorded


def fetch(name, arguments, lock):
    file_name = f"{name}.hdf5"
    target = arguments.folder / file_name
    expected = arguments.sha256
    if target.exists():
        found, recorded = check(target, lock, expected, arguments.quiet, file_name)
        verdict = "as recorded" if recorded else "as asked for" if expected else "now recorded"
        outcome = "already here"
    else:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        transfer = Transfer(
            f"{arguments.base_url.rstrip('/')}/{file_name}", target, arguments.timeout, arguments.quiet
        )
        for attempt in range(arguments.tries):
            try:
                transfer.run()
                break
            except (OSError, http.client.HTTPException) as error:
                if attempt + 1 == arguments.tries:
                    raise FetchError(
                        f"{transfer.url}: {error} ({arguments.tries} tries; the same command goes on"
                        " from what has arrived)"
                    ) from error
                print(f"{file_name}: {error}; trying again", file=sys.stderr)
                time.sleep(min(arguments.pause * 2**attempt, 60))
        try:
            found, recorded = check(transfer.part, lock, expected, arguments.quiet, file_name)
        except FetchError as error:
            transfer.discard()
            raise FetchError(f"{error}; the file was removed") from error
        os.replace(transfer.part, target)
        transfer.note.unlink(missing_ok=True)
        verdict = "as recorded" if recorded else "as asked for" if expected else "first fetch, recorded"
        outcome = "fetched"
    if not recorded:
        lock.record(file_name, found)
    print(f"{target}: {outcome}, SHA-256 {found} ({verdict})")


def sha256_argument(text):
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"expected 64 hex digits, received {text!r}")
    return text.lower()


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="see --list")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--folder", type=pathlib.Path, default=HERE / "public")
    parser.add_argument("--lock", type=pathlib.Path, default=HERE / "public.sha256")
    parser.add_argument("--base-url", default=BASE_URL, help=f"default {BASE_URL}")
    parser.add_argument("--sha256", type=sha256_argument, metavar="HEX", help="demanded of one NAME")
    parser.add_argument("--tries", type=int, default=5, help="default 5")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds before the 2nd try; doubles")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds without a byte; default 60")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    arguments = parser.parse_args(argv)
    if arguments.list:
        return arguments
    if not arguments.names:
        parser.error("expected a NAME; --list prints them")
    for name in arguments.names:
        if name not in NAMES:
            parser.error(f"NAME: expected one of {', '.join(NAMES)}; received {name}")
    if arguments.sha256 and len(arguments.names) != 1:
        parser.error(f"--sha256: expected one NAME beside it, received {len(arguments.names)}")
    if arguments.tries < 1:
        parser.error(f"--tries: expected at least 1, received {arguments.tries}")
    return arguments


def main(argv=None):
    arguments = parse_arguments(argv)
    if arguments.list:
        print("\n".join(NAMES))
        return 0
    failed = False
    try:
        lock = Lock(arguments.lock)
        for name in arguments.names:
            try:
                fetch(name, arguments, lock)
            except (FetchError, OSError) as error:
                print(f"fetch.py: {error}", file=sys.stderr)
                failed = True
    except (FetchError, OSError) as error:
        print(f"fetch.py: {error}", file=sys.stderr)
        failed = True
    except KeyboardInterrupt:
        print("\nfetch.py: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
