# SPDX-License-Identifier: MIT
"""datasets/fetch.py against a server on the loopback address that breaks in chosen ways."""

import contextlib
import hashlib
import http.server
import importlib.util
import io
import os
import pathlib
import random
import re
import sys
import tempfile
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("fetch", ROOT / "datasets" / "fetch.py")
fetch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fetch)

NAME = "sift-128-euclidean"


def make_body(seed):
    return fetch.HDF5_SIGNATURE + random.Random(seed).randbytes(3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        if server.statuses:
            status = server.statuses.pop(0)
            if status != 200:
                self.send_error(status)
                return
        body, begin, status = server.body, 0, 200
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if_range = self.headers.get("If-Range")
        if match and server.ranges and if_range in (None, server.etag):
            begin, status = int(match[1]), 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) - begin))
        if server.etag:
            self.send_header("ETag", server.etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        end = server.cuts.pop(0) if server.cuts else len(body)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[begin:end])

    def log_message(self, *arguments):
        pass


class FetchTest(unittest.TestCase):
    def setUp(self):
        os.environ["no_proxy"] = "*"  # the loopback server is nobody's proxy's business
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.body = make_body(1)
        self.server.etag = '"one"'
        self.server.ranges = True
        self.server.cuts = []  # each response in turn ends at this byte of the file
        self.server.statuses = []  # each response in turn has this status
        self.server.requests = []
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name) / "public"
        self.lock = pathlib.Path(temporary.name) / "public.sha256"
        self.target = self.folder / f"{NAME}.hdf5"
        self.part = self.folder / f"{NAME}.hdf5.part"

    def run_fetch(self, *extra, tries=1):
        """(exit status, what it wrote to stderr)"""
        errors = io.StringIO()
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        arguments = [NAME, "--folder", str(self.folder), "--lock", str(self.lock), "--base-url", url]
        arguments += ["--tries", str(tries), "--pause", "0", "--timeout", "5", "--quiet", *extra]
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            status = fetch.main(arguments)
        return status, errors.getvalue()

    def checksum(self):
        return hashlib.sha256(self.server.body).hexdigest()

    def assert_whole(self):
        self.assertEqual(self.target.read_bytes(), self.server.body)
        self.assertEqual([p.name for p in self.folder.iterdir()], [self.target.name])

    def test_fetches_and_records_then_checks_without_the_server(self):
        self.assertEqual(self.run_fetch(), (0, ""))
        self.assert_whole()
        self.assertEqual(self.lock.read_text(), f"{self.checksum()}  public/{NAME}.hdf5\n")
        self.assertEqual(self.run_fetch(), (0, ""))
        self.assertEqual(len(self.server.requests), 1)

    def test_a_truncated_file_goes_on_in_the_next_run(self):
        self.server.cuts = [1_234_567]
        status, errors = self.run_fetch()
        self.assertEqual(status, 1)
        self.assertIn("ended at 1234567 of 3000008 bytes", errors)
        self.assertFalse(self.target.exists())
        self.assertEqual(self.part.stat().st_size, 1_234_567)
        self.assertEqual(self.run_fetch(), (0, ""))
        self.assert_whole()
        self.assertEqual(self.server.requests[1], (f"/{NAME}.hdf5", "bytes=1234567-", '"one"'))

    def test_goes_on_by_itself_after_breaks_and_server_errors(self):
        self.server.cuts = [1_000_000, 2_000_000]
        self.server.statuses = [200, 503, 200, 200]
        status, errors = self.run_fetch(tries=4)
        self.assertEqual(status, 0, errors)
        self.assert_whole()
        ranges = [request[1] for request in self.server.requests]
        self.assertEqual(ranges, [None, "bytes=1000000-", "bytes=1000000-", "bytes=2000000-"])

    def test_starts_anew_when_the_file_changed_between(self):
        self.server.cuts = [1_000_000]
        self.run_fetch()
        self.server.body, self.server.etag = make_body(2), '"two"'
        self.assertEqual(self.run_fetch()[0], 0)
        self.assert_whole()

    def test_starts_anew_when_the_size_changed_and_the_server_names_no_version(self):
        self.server.etag = None
        self.server.cuts = [1_000_000]
        self.run_fetch()
        self.server.body = make_body(2) + b"more"
        self.assertEqual(self.run_fetch(tries=2)[0], 0)
        self.assert_whole()

    def test_starts_anew_when_the_server_has_no_ranges(self):
        self.server.ranges = False
        self.server.cuts = [1_000_000]
        self.run_fetch()
        self.assertEqual(self.run_fetch()[0], 0)
        self.assert_whole()

    def test_a_part_of_unknown_origin_is_not_used(self):
        self.folder.mkdir()
        self.part.write_bytes(b"something else")
        self.assertEqual(self.run_fetch()[0], 0)
        self.assertIsNone(self.server.requests[0][1])
        self.assert_whole()

    def test_refuses_a_wrong_checksum(self):
        wrong = "0" * 64
        status, errors = self.run_fetch("--sha256", wrong)
        self.assertEqual(status, 1)
        self.assertIn(f"expected SHA-256 {wrong} (--sha256), received {self.checksum()}", errors)
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertFalse(self.lock.exists())

    def test_accepts_the_right_checksum(self):
        self.assertEqual(self.run_fetch("--sha256", self.checksum().upper()), (0, ""))
        self.assert_whole()

    def test_refuses_what_differs_from_the_record(self):
        self.run_fetch()
        first = self.checksum()
        self.target.unlink()
        self.server.body = make_body(2)
        status, errors = self.run_fetch()
        self.assertEqual(status, 1)
        self.assertIn(f"expected SHA-256 {first} ({self.lock}), received {self.checksum()}", errors)
        self.assertFalse(self.target.exists())

    def test_refuses_a_damaged_file_that_is_already_here(self):
        self.run_fetch()
        self.target.write_bytes(self.server.body[:-1])
        status, errors = self.run_fetch()
        self.assertEqual(status, 1)
        self.assertIn("expected SHA-256", errors)

    def test_refuses_a_page_in_place_of_the_file(self):
        self.server.body = b"<html>please log in</html>"
        status, errors = self.run_fetch()
        self.assertEqual(status, 1)
        self.assertIn("expected an HDF5 file", errors)
        self.assertFalse(self.lock.exists())

    def test_says_what_the_server_said(self):
        self.server.statuses = [404]
        status, errors = self.run_fetch(tries=3)
        self.assertEqual(status, 1)
        self.assertIn(f"/{NAME}.hdf5: HTTP 404", errors)
        self.assertEqual(len(self.server.requests), 1)

    def test_refuses_a_lock_file_that_it_cannot_read(self):
        self.lock.write_text("no checksum\n")
        status, errors = self.run_fetch()
        self.assertEqual(status, 1)
        self.assertIn("line 1: expected '<64 hex digits>  <file>'", errors)

    def test_wrong_arguments_end_with_status_2(self):
        for arguments in ([], ["no-such-set"], [NAME, "--sha256", "12"], [NAME, "--tries", "0"]):
            with self.subTest(arguments), contextlib.redirect_stderr(io.StringIO()) as errors:
                with self.assertRaises(SystemExit) as ended:
                    fetch.main(arguments)
                self.assertEqual(ended.exception.code, 2)
                self.assertIn("expected", errors.getvalue())

    def test_the_plain_bar_prints_ten_steps_where_there_is_no_terminal(self):
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            bar = fetch.PlainBar(1000, 0, "name")
            for _ in range(1000):
                bar.update(1)
            bar.close()
        self.assertEqual(len(errors.getvalue().splitlines()), 11)
        self.assertIn("name 100%", errors.getvalue())


if __name__ == "__main__":
    unittest.main()
