# SPDX-License-Identifier: MIT
"""One peer's index on one data set, driven as compare_server.cpp describes: a line of JSON a
command on stdin, a line of JSON a reply on stdout.

Usage: python -m bench.compare.peer_server KIND
"""

import json
import os
import sys
import time

import numpy as np

from bench.compare import datasets, peers

# The same as in compare_server.cpp.
WARM_UP_CALLS = 10
FEWEST_CALLS = 100


class Server:
    def __init__(self, kind):
        self.make_peer = peers.KINDS[kind]

    def handle(self, request):
        return getattr(self, "op_" + request["op"])(request)

    def op_open(self, request):
        self.path, self.rows = request["dataset"], request.get("rows", 0)
        data = datasets.load(self.path, self.rows, request.get("queries", 0), base=False)
        self.peer = self.make_peer(request["index"], data.n, data.d, data.metric)
        self.queries = self.peer.prepare_rows(data.queries)
        # One row a call: the slicing is not the peer's cost.
        self.single = [np.ascontiguousarray(row[None]) for row in self.queries]
        return {"kernels": self.peer.kernels(), "version": self.peer.version()}

    def op_build(self, request):
        self.peer.drop()
        base = self.peer.prepare_rows(datasets.load(self.path, self.rows, 1).base)
        train_s, add_s = self.peer.build(base)
        return {"train_s": train_s, "add_s": add_s}

    def op_size(self, request):
        total, fixed = self.peer.sizes()
        return {"total_bytes": total, "fixed_bytes": fixed}

    def op_set(self, request):
        self.peer.set(request["params"])
        return {}

    def op_search(self, request):
        search = self.peer.searcher(request["k"])
        start = time.perf_counter()
        result = search(self.queries)
        seconds = time.perf_counter() - start
        return {
            "ids": np.asarray(self.peer.ids(result)).astype(np.int64).tolist(),
            "seconds": seconds,
        }

    def op_one(self, request):
        search = self.peer.searcher(request["k"])
        budget = request.get("budget_s", 2.0)
        clock = time.perf_counter
        for row in self.single[:WARM_UP_CALLS]:
            search(row)
        seconds, calls = 0.0, 0
        for row in self.single:
            start = clock()
            search(row)
            seconds += clock() - start
            calls += 1
            if calls >= FEWEST_CALLS and seconds >= budget:
                break
        return {"us": 1e6 * seconds / calls, "calls": calls}

    def op_batch(self, request):
        search = self.peer.searcher(request["k"])
        rows = np.ascontiguousarray(self.queries[: request["size"]])
        start = time.perf_counter()
        search(rows)
        return {"seconds": time.perf_counter() - start, "size": len(rows)}

    def op_profile(self, request):
        return {}

    def op_call(self, request):
        self.peer.keep_one(self.queries[:1])
        return {"us": self.op_one(request)["us"]}


def main():
    # Peers print from C as well: replies go to a copy of stdout, everything else to stderr.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(sys.argv[1])
    for line in sys.stdin:
        try:
            reply = server.handle(json.loads(line))
        except Exception as error:  # whatever a peer throws is its result
            text = (str(error).splitlines() or [""])[0]
            reply = {"error": f"{type(error).__name__}: {text}"}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
