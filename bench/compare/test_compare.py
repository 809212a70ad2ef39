# SPDX-License-Identifier: MIT
"""python -m bench.compare --self-test"""

import pathlib
import tempfile
import unittest

import h5py
import numpy as np

from bench.compare import contestants, datasets, growth, measure, reach, report


def row(name, kind="faiss", recall=0.8, size=64.0, one=100.0, batch=10_000.0, **others):
    values = {"set": "sift-128-euclidean", "n": 1000, "d": 128, "group": "flat"} | others
    return measure.Row(
        name=name, kind=kind, recall_10_at_10=recall, bytes_per_vector=size,
        one_us_best=one, one_us_median=1.5 * one, batch_qps_best=batch, batch_qps_median=batch / 2,
        add_per_s_best=1e5, add_per_s_median=9e4, **values,
    )  # fmt: skip


class RecallTest(unittest.TestCase):
    def test_counts_true_ids_wherever_they_stand(self):
        truth = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
        found = np.array([[1, 0, 9], [8, 9, 4]])
        self.assertAlmostEqual(datasets.recall(truth, found, 2), 3 / 4)
        self.assertAlmostEqual(datasets.recall(truth, found, 4), 3 / 8)

    def test_short_answers_and_short_truth(self):
        truth = np.array([[0, 1], [2, 3]])
        found = np.array([[0, -1], [-1, -1]])
        self.assertAlmostEqual(datasets.recall(truth, found, 10), 1 / 4)

    def test_refuses_answers_to_other_queries(self):
        with self.assertRaises(ValueError):
            datasets.recall(np.zeros((2, 1)), np.zeros((3, 1)))


class DatasetTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        rng = np.random.default_rng(5)
        self.base = rng.integers(0, 9, (300, 6)).astype(np.uint8)
        self.queries = rng.integers(0, 9, (20, 6)).astype(np.uint8)

    def file(self, distance):
        path = self.folder / f"{distance}.hdf5"
        with h5py.File(path, "w") as file:
            file["train"], file["test"], file.attrs["distance"] = self.base, self.queries, distance
        return path

    def test_truth_is_that_of_a_full_search_ties_by_row(self):
        base, queries = self.base.astype(np.float32), self.queries.astype(np.float32)
        distances = ((queries[:, None] - base[None]) ** 2).sum(axis=2)
        expected = np.argsort(distances, axis=1, kind="stable")[:, :5]
        np.testing.assert_array_equal(datasets.exact_neighbours(base, queries, "l2", 5), expected)
        products = queries @ base.T
        expected = np.argsort(-products, axis=1, kind="stable")[:, :5]
        np.testing.assert_array_equal(datasets.exact_neighbours(base, queries, "ip", 5), expected)

    def test_angular_rows_have_length_1(self):
        data = datasets.load(self.file("angular"))
        np.testing.assert_allclose(np.linalg.norm(data.base, axis=1), 1.0, rtol=1e-6)
        self.assertEqual((data.metric, data.truth), ("ip", None))

    def test_refuses_an_unknown_distance(self):
        with self.assertRaisesRegex(ValueError, "jaccard"):
            datasets.load(self.file("jaccard"))

    def test_joined_vectors_are_wide_distinct_and_have_truth(self):
        path = datasets.prepared(self.file("euclidean"), self.folder, join=4, rows=700)
        data = datasets.load(path)
        self.assertEqual(data.base.shape, (700, 24))
        self.assertEqual(data.queries.shape, (20, 24))
        self.assertEqual(len(np.unique(data.base, axis=0)), 700)
        distance = ((data.base - data.queries[0]) ** 2).sum(axis=1)
        self.assertAlmostEqual(distance[data.truth[0, 0]], distance.min())

    def test_a_grown_set_starts_with_the_set(self):
        data = datasets.load(datasets.grown(self.file("euclidean"), self.folder, 1000))
        np.testing.assert_array_equal(data.base[:300], self.base)
        moved = np.abs(data.base[300:600] - self.base)
        self.assertGreater(moved.max(), 0.0)
        self.assertLess(moved.mean(), self.base.std())


class ReportTest(unittest.TestCase):
    def test_csv_comes_back(self):
        rows = [row("a", settings="nprobe=8", rounds=3, fixed_bytes=12), row("b")]
        rows[1].error = "one, two\n"
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "x.csv"
            report.write_csv(path, rows, {"CPU": "a: b"})
            self.assertEqual(report.read_csv(path), (rows, {"CPU": "a: b"}))

    def test_markdown_has_a_line_a_row_and_names_failures(self):
        broken = row("b")
        broken.error = "no such index"
        text = report.markdown([row("a"), broken], {"CPU": "x"}, "title")
        self.assertIn("| a | 0.800 | - | 64 | 100.0 / 150.0 | 10,000 / 5,000 |", text)
        self.assertIn("- b: no such index", text)


class SpeedAtRecallTest(unittest.TestCase):
    def test_interpolates_on_the_front(self):
        points = [(0.8, 4000.0), (0.85, 900.0), (0.9, 1000.0)]  # the middle one is dominated
        rows = [row("a", recall=recall, batch=speed) for recall, speed in points]

        def at(recall):
            return report.speed_at(rows, recall, lambda entry: entry.batch_qps_best)

        self.assertAlmostEqual(at(0.85), 2000.0)
        self.assertAlmostEqual(at(0.9), 1000.0)
        self.assertAlmostEqual(at(0.5), 4000.0)
        self.assertIsNone(at(0.95))


class ReachTest(unittest.TestCase):
    def cells(self, rows, work):
        lines = reach.table(rows).splitlines()
        return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if work in line]

    def test_a_named_index_needs_speed_and_recall(self):
        peer = row("faiss PQ64x4fs", recall=0.65)
        fast = row("ORQ3", "ours", recall=0.9, batch=31_000.0)
        (batch, _) = self.cells([peer, fast], "ORQ3 against FAISS PQ x4fs")
        self.assertEqual((batch[3], batch[5]), ("3.10x (3.10x)", "yes"))
        inexact = row("ORQ3", "ours", recall=0.79, batch=31_000.0)
        self.assertEqual(self.cells([peer, inexact], "ORQ3 against FAISS PQ x4fs")[0][5], "no")

    def test_a_narrower_bound_counts_while_it_has_the_recall(self):
        peer = row("faiss PQ64x4fs", recall=0.65)
        rows = [
            peer,
            row("ORQ3", "ours", recall=0.9, batch=20_000.0),
            row("ORQ3", "ours", recall=0.85, batch=32_000.0, settings="refine_error_scale=1.0"),
            row("ORQ3", "ours", recall=0.79, batch=40_000.0, settings="refine_error_scale=0.7"),
        ]
        (batch, _) = self.cells(rows, "ORQ3 against FAISS PQ x4fs")
        self.assertEqual((batch[3], batch[5]), ("3.20x (3.20x)", "yes"))

    def test_only_as_exact_and_as_small_counts(self):
        peer = row("turbovec 4bit", "turbovec", recall=0.85, size=69.0)
        rows = [
            peer,
            row("RQ3", "ours", recall=0.81, size=58.0, batch=90_000.0),
            row("RQ8", "ours", recall=0.99, size=142.0, batch=80_000.0),
            row("ORQ3", "ours", recall=0.90, size=58.0, batch=25_000.0),
        ]
        (batch, _) = self.cells(rows, "turbovec 4 bits")
        self.assertEqual((batch[3], batch[5]), ("2.50x (2.50x)", "yes"))
        self.assertIn("ORQ3 0.900 58", batch[4])

    def test_the_least_lead_over_several_peers_is_told(self):
        peers = [
            row("turbovec 2bit", "turbovec", 0.5),
            row("turbovec 2bit whole", "turbovec", 0.6, batch=2e4),
        ]
        cells = self.cells(
            [*peers, row("RQ2", "ours", recall=0.7, batch=3e4)], "turbovec 2 bits, batch"
        )
        self.assertEqual((cells[0][3], cells[0][5]), ("1.50x (1.50x)", "no"))

    def test_says_when_nobody_qualifies(self):
        rows = [row("turbovec 2bit", "turbovec", 0.6, 36.0), row("RQ2", "ours", 0.7, 42.0)]
        self.assertIn(
            "none of ours has the recall in the bytes of turbovec 2bit 0.600 36",
            self.cells(rows, "turbovec 2 bits")[0][4],
        )

    def test_shares(self):
        mine = row(
            "RQ3", "ours", scan_share=0.7, prepare_share=0.05, refine_share=0.25, refined=99.0
        )
        self.assertEqual(self.cells([mine], "outside the scan")[0][3:6:2], ["30%", "yes"])


class ContestantsTest(unittest.TestCase):
    def test_braces(self):
        entry = next(e for e in contestants.CONTESTANTS if e.kind == "rabitqlib").on(200_000, 128)
        self.assertEqual((entry.name, entry.index["nlist"]), ("rabitqlib IVF1024,4bit", 1024))
        self.assertEqual(
            contestants.fill_text("IVF{nlist},PQ{d/2}x4fs", 1000, 100), "IVF256,PQ50x4fs"
        )

    def test_names_are_unique_in_a_group(self):
        names = [(entry.group, entry.name) for entry in contestants.CONTESTANTS]
        self.assertEqual(len(names), len(set(names)))

    def test_every_group_has_a_short_form_with_ours_and_a_peer(self):
        for group in contestants.GROUPS:
            kinds = {entry.kind == "ours" for entry in contestants.chosen(group, short=True)}
            self.assertEqual(kinds, {True, False}, group)


class MeasureTest(unittest.TestCase):
    def test_slow_batches_shrink(self):
        self.assertEqual(measure.batch_size(1000, 0.5), 1000)
        self.assertEqual(measure.batch_size(1000, 8.0), 500)
        self.assertEqual(measure.batch_size(1000, 800.0), 100)
        self.assertEqual(measure.batch_size(50, 800.0), 50)

    def test_slope_of_linear_growth_is_1(self):
        series = [(n, {"s": 3e-6 * n}) for n in (10_000, 100_000, 1_000_000)]
        self.assertAlmostEqual(growth.slope(series, "s"), 1.0)


if __name__ == "__main__":
    unittest.main()
