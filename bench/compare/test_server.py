# SPDX-License-Identifier: MIT
"""compare_server on a shipped set: test_server.py compare_server F.hdf5. No packages needed."""

import json
import subprocess
import sys
import unittest

SERVER, DATASET = sys.argv[1:3]


def ask_all(*requests):
    done = subprocess.run(
        [SERVER], input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(replies) == len(requests), done.stdout
    return replies


class ServerTest(unittest.TestCase):
    def test_builds_searches_and_measures(self):
        opened, built, size, set_, found, one, batch, profile, call = ask_all(
            {
                "op": "open",
                "dataset": DATASET,
                "index": {"spec": "RQ3"},
                "rows": 2000,
                "queries": 40,
            },
            {"op": "build"},
            {"op": "size"},
            {"op": "set", "params": {"refine_error_scale": 8}},
            {"op": "search", "k": 10},
            {"op": "one", "k": 10},
            {"op": "batch", "k": 10, "size": 30},
            {"op": "profile", "k": 10},
            {"op": "call", "k": 10},
        )
        self.assertTrue(opened["kernels"])
        self.assertGreater(built["add_s"], 0.0)
        self.assertEqual((size["total_bytes"] - size["fixed_bytes"]) // 2000, 58)
        self.assertEqual(set_, {})
        self.assertEqual({len(ids) for ids in found["ids"]}, {10})
        self.assertEqual(len(found["ids"]), 40)
        self.assertTrue(
            all(0 <= i < 2000 and len(set(ids)) == 10 for ids in found["ids"] for i in ids)
        )
        self.assertEqual((one["calls"], batch["size"]), (40, 30))
        self.assertGreater(one["us"], 0.0)
        self.assertGreaterEqual(profile["seconds"], profile["scan_s"])
        self.assertLess(call["us"], 10 * one["us"])

    def test_an_exact_index_finds_the_files_neighbours(self):
        _, _, found = ask_all(
            {"op": "open", "dataset": DATASET, "index": {"spec": "Flat"}, "queries": 5},
            {"op": "build"},
            {"op": "search", "k": 1},
        )
        _, _, ours = ask_all(
            {"op": "open", "dataset": DATASET, "index": {"spec": "ORQ8"}, "queries": 5},
            {"op": "build"},
            {"op": "search", "k": 10},
        )
        for exact, ids in zip(found["ids"], ours["ids"]):
            self.assertIn(exact[0], ids)

    def test_errors_are_replies(self):
        replies = ask_all(
            {"op": "open", "dataset": "nothing.hdf5", "index": {"spec": "RQ3"}},
            {"op": "open", "dataset": DATASET, "index": {"spec": "RQ9"}},
            {"op": "search", "k": 10},
            {"op": "dance"},
        )
        for reply, text in zip(replies, ("nothing.hdf5", "RQ9", "build comes first", "dance")):
            self.assertIn(text, reply["error"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
