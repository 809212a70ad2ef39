# SPDX-License-Identifier: MIT
"""The peers, each behind the few calls that a comparison needs.

`index` is what contestants.py says of the contestant; its keys are each class's own. searcher(k)
returns the bare call that is timed: nothing of ours runs inside the clock but one lambda.
"""

import importlib.metadata
import os
import pathlib
import tempfile
import time

import numpy as np

CALIBRATION_ROWS = 1024  # what turbovec's documentation recommends


class Peer:
    package = ""

    def __init__(self, index, n, d, metric):
        self.spec, self.n, self.d, self.metric = index, n, d, metric
        self.params = {}
        self.index = None

    def version(self):
        return f"{self.package} {importlib.metadata.version(self.package)}"

    def kernels(self):
        return ""

    def prepare_rows(self, x):
        """What the peer is given in place of x; not timed."""
        return x

    def drop(self):
        """Frees the index before another build."""
        self.index = None

    def set(self, params):
        self.params = params

    def keep_one(self, row):
        raise NotImplementedError(f"{self.package}: no index of one vector")

    @staticmethod
    def ids(result):
        return result[1]

    def build(self, x):
        """(seconds of training, seconds of adding): None for adding that is one with training."""
        raise NotImplementedError

    def sizes(self):
        """(bytes of the index as written, those of them that do not grow with it)."""
        raise NotImplementedError

    def searcher(self, k):
        raise NotImplementedError


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def written_bytes(write):
    """Bytes of the file that write(path) leaves."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "index"
        write(str(path))
        return path.stat().st_size


class Faiss(Peer):
    package = "faiss-cpu"

    def __init__(self, index, n, d, metric):
        super().__init__(index, n, d, metric)
        import faiss

        self.faiss = faiss
        faiss.omp_set_num_threads(1)
        self.code = {"l2": faiss.METRIC_L2, "ip": faiss.METRIC_INNER_PRODUCT}[metric]
        self.make()

    def make(self):
        return self.faiss.index_factory(self.d, self.spec["spec"], self.code)

    def kernels(self):
        level = getattr(getattr(self.faiss, "SIMDConfig", None), "get_level_name", None)
        return level() if level else self.faiss.get_compile_options().split()[-1]

    def build(self, x):
        self.index = self.make()
        train_s, _ = timed(self.index.train, x)
        self.fixed = self.faiss.serialize_index(self.index).nbytes
        add_s, _ = timed(self.index.add, x)
        return train_s, add_s

    def sizes(self):
        return self.faiss.serialize_index(self.index).nbytes, self.fixed

    def set(self, params):
        if params:
            text = ",".join(f"{name}={value}" for name, value in params.items())
            self.faiss.ParameterSpace().set_index_parameters(self.index, text)

    def searcher(self, k):
        index = self.index
        return lambda rows: index.search(rows, k)

    def keep_one(self, row):
        self.index.reset()
        self.index.add(row)


class Turbovec(Peer):
    """Ranks by inner product alone and takes dimensions that are multiples of 8. Rows are padded
    with zeros; with `normalise` they are scaled to length 1, which on SIFT (nearly equal lengths)
    lets it find more of the Euclidean neighbours than the raw rows do."""

    package = "turbovec"

    def prepare_rows(self, x):
        from bench.compare import datasets

        width = -(-self.d // 8) * 8
        x = np.pad(x, ((0, 0), (0, width - self.d))) if width != self.d else x.copy()
        if self.metric == "l2" and self.spec.get("normalise", True):
            datasets.normalise(x)
        return np.ascontiguousarray(x)

    def make(self, width):
        import turbovec

        return turbovec.TurboQuantIndex(width, self.spec["bits"])

    def kernels(self):
        planes = {name: value for name, value in os.environ.items() if name.startswith("TURBOVEC_")}
        return " ".join(f"{name}={value}" for name, value in planes.items())

    def build(self, x):
        self.index = self.make(x.shape[1])
        train_s = 0.0
        if self.spec.get("calibrate"):
            self.sample = x[
                np.random.default_rng(0).choice(
                    len(x), min(CALIBRATION_ROWS, len(x)), replace=False
                )
            ]
            train_s, _ = timed(self.index.calibrate, self.sample)
        add_s, _ = timed(self.index.add, x)
        return train_s, add_s

    def sizes(self):
        total = written_bytes(self.index.write)
        empty = self.make(-(-self.d // 8) * 8)
        if self.spec.get("calibrate"):
            empty.calibrate(self.sample)
        return total, written_bytes(empty.write)

    def searcher(self, k):
        index = self.index
        return lambda rows: index.search(rows, k)

    def keep_one(self, row):
        self.index = self.make(row.shape[1])
        self.index.add(row)


class Rabitq(Peer):
    """rabitqlib's inverted lists; centroids by FAISS's k-means, as its documentation does."""

    package = "rabitqlib"

    def build(self, x):
        import faiss
        import rabitqlib

        nlist = self.spec["nlist"]

        def cluster():
            kmeans = faiss.Kmeans(self.d, nlist, niter=10, seed=1)
            kmeans.train(x)
            return kmeans.centroids, kmeans.index.search(x, 1)[1].astype(np.uint32).ravel()

        train_s, (centroids, lists) = timed(cluster)
        self.index = rabitqlib.IvfIndex(self.d, len(x), nlist, self.spec["bits"], self.metric)
        add_s, _ = timed(self.index.build, x, centroids, lists)
        return train_s, add_s

    def sizes(self):
        return written_bytes(self.index.save), self.spec["nlist"] * self.d * 4

    def searcher(self, k):
        index, nprobe = self.index, int(self.params["nprobe"])
        return lambda rows: index.search(rows, k, nprobe)

    @staticmethod
    def ids(result):
        return next(part for part in result if np.asarray(part).dtype.kind in "iu")


class Scann(Peer):
    package = "scann"

    def build(self, x):
        import scann

        builder = scann.scann_ops_pybind.builder(
            x, 10, {"l2": "squared_l2", "ip": "dot_product"}[self.metric]
        )
        if leaves := self.spec.get("leaves"):
            builder = builder.tree(leaves, leaves // 10, training_sample_size=len(x))
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2)
        if reorder := self.spec.get("reorder"):
            builder = builder.reorder(reorder)
        builder.set_n_training_threads(1)
        train_s, self.index = timed(builder.build)
        self.index.set_num_threads(1)
        return train_s, None

    def sizes(self):
        with tempfile.TemporaryDirectory() as folder:
            self.index.serialize(folder)
            sizes = {path.name: path.stat().st_size for path in pathlib.Path(folder).iterdir()}
        fixed = sum(size for name, size in sizes.items() if not name.endswith(".npy"))
        return sum(sizes.values()), fixed

    def searcher(self, k):
        index, options = self.index, {"final_num_neighbors": k}
        if self.spec.get("reorder"):
            options["pre_reorder_num_neighbors"] = max(
                k, self.params.get("reorder", self.spec["reorder"])
            )
        if "leaves" in self.params:
            options["leaves_to_search"] = self.params["leaves"]

        def search(rows):
            if len(rows) == 1:
                return index.search(rows[0], **options)
            return index.search_batched(rows, **options)

        return search

    @staticmethod
    def ids(result):
        return result[0]


class Hnswlib(Peer):
    package = "hnswlib"

    def make(self, n):
        import hnswlib

        index = hnswlib.Index(space=self.metric, dim=self.d)
        index.init_index(
            max_elements=n, M=self.spec["M"], ef_construction=self.spec["ef_construction"]
        )
        index.set_num_threads(1)
        return index

    def build(self, x):
        self.index = self.make(len(x))
        add_s, _ = timed(self.index.add_items, x)
        return 0.0, add_s

    def sizes(self):
        return written_bytes(self.index.save_index), 0

    def set(self, params):
        self.index.set_ef(max(int(params["ef"]), 10))

    def searcher(self, k):
        index = self.index
        return lambda rows: index.knn_query(rows, k)

    @staticmethod
    def ids(result):
        return result[0]

    def keep_one(self, row):
        self.index = self.make(1)
        self.index.add_items(row)


class Usearch(Peer):
    package = "usearch"

    def make(self):
        from usearch.index import Index

        return Index(
            ndim=self.d,
            metric={"l2": "l2sq", "ip": "ip"}[self.metric],
            dtype="f32",
            connectivity=self.spec["M"],
            expansion_add=self.spec["ef_construction"],
        )

    def build(self, x):
        self.index = self.make()
        add_s, _ = timed(lambda: self.index.add(np.arange(len(x)), x, threads=1))
        return 0.0, add_s

    def sizes(self):
        return written_bytes(self.index.save), 0

    def set(self, params):
        self.index.expansion_search = int(params["ef"])

    def searcher(self, k):
        index = self.index
        return lambda rows: index.search(rows, k, threads=1)

    @staticmethod
    def ids(result):
        return np.atleast_2d(result.keys)


KINDS = {
    "faiss": Faiss,
    "turbovec": Turbovec,
    "rabitqlib": Rabitq,
    "scann": Scann,
    "hnswlib": Hnswlib,
    "usearch": Usearch,
}
