# SPDX-License-Identifier: MIT
"""The commands and their options."""

from __future__ import annotations

import json
import time
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer
from threadpoolctl import threadpool_limits

import rotorquant
from rotorquant.cli import dataset as data
from rotorquant.cli import measure, report
from rotorquant.cli.errors import EXIT_BAD_ARGUMENTS, EXIT_FAILED, BadArgument
from rotorquant.cli.spec import (
    SearchSetup,
    Setting,
    expand_placeholders,
    make_index,
    parse_params,
    prepare_search,
    require_known,
)
from rotorquant.convert import convert as convert_index

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Builds, searches and measures rotor-quantized and FAISS vector indexes.",
    epilog="Exit status: 0 done, 1 failed, 2 bad arguments.",
)

Datasets = Annotated[list[Path], typer.Option("--dataset", help="HDF5 file; may be repeated.")]
Rows = Annotated[
    Optional[int], typer.Option(min=1, help="Use the first N base vectors only (default: all).")
]
Queries = Annotated[
    Optional[int], typer.Option(min=1, help="Use the first N queries only (default: all).")
]
K = Annotated[int, typer.Option("--k", min=1, max=100_000, help="Neighbours a query.")]
Threads = Annotated[
    int, typer.Option(min=1, max=1024, help="Threads for everything, OpenMP and OpenBLAS.")
]
Params = Annotated[
    Optional[list[str]],
    typer.Option(
        "--param",
        help="Search parameters, name=value,...: refine_error_scale, k_factor, levels, estimator "
        "(rescaled or strict) for rotorquant's indexes, nprobe and the like for those of FAISS.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead.")]
IndexFile = Annotated[Path, typer.Option("--index-file", help="File that build or FAISS wrote.")]


class Distance(str, Enum):
    euclidean = "euclidean"
    angular = "angular"
    ip = "ip"


def _set_threads(threads: int) -> None:
    rotorquant.omp_set_num_threads(threads)
    threadpool_limits(threads)
    rotorquant.simd_active()  # raises for an unusable ROTORQUANT_SIMD, before any work


def _require_folder_of(path: Path) -> None:
    if not path.parent.is_dir():
        raise BadArgument(f"--output: expected a path in a folder, no folder {path.parent}")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rotorquant {rotorquant.__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


@app.command("eval")
def evaluate(
    dataset: Datasets,
    index: Annotated[list[str], typer.Option("--index", help="Factory string; may be repeated.")],
    k: K = 10,
    rows: Rows = None,
    queries: Queries = None,
    threads: Threads = 1,
    param: Params = None,
    as_json: Json = False,
) -> None:
    """Build, search and measure indexes on data sets in ann-benchmarks' layout.

    {d} and {d/N} in index strings stand for the dimension and its N-th part: 'PQ{d/2}x4fs'. Angular
    vectors are normalised and searched by inner product. The keys of --json are explained by the
    C++ program's `rotorquant eval --help` and in docs/python.md.
    """
    _set_threads(threads)
    settings = parse_params(param or [])
    plans = _plans(dataset, index, settings, threads)
    results = []
    failed = False
    for shape, specs in plans:
        with report.progress_bar(shape.name) as tell:
            tell("reading", 0, 0)
            loaded = data.read_dataset(shape.path, rows, queries)
            data.ensure_truth(loaded, k)
        for spec in specs:
            try:
                with report.progress_bar(f"{shape.name}: {spec}") as tell:
                    result = measure.evaluate(
                        loaded, spec, k, threads, settings, tell, report.note
                    )
            except (rotorquant.Error, MemoryError) as error:
                report.note(f"rotorquant: {shape.name}: {spec}: {error}")
                failed = True
                continue
            results.append(result)
            if as_json:
                report.print_json(report.to_json(result))
    if results and not as_json:
        report.print_table(report.eval_table(results))
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _plans(
    paths: list[Path], indexes: list[str], settings: list[Setting], threads: int
) -> list[tuple[data.Shape, list[str]]]:
    """Reads headers only and tries every index string and parameter: a mistake in the last argument
    must not show after an hour's work for the first."""
    plans = []
    setups: list[tuple[str, SearchSetup]] = []
    for path in paths:
        shape = data.read_shape(path)
        specs = [expand_placeholders(spec, shape.d) for spec in indexes]
        for spec in specs:
            empty = make_index(spec, shape.d, data.metric_of(shape.distance))
            setups.append((spec, prepare_search(empty, settings, threads)))
        plans.append((shape, specs))
    require_known(settings, setups)
    return plans


@app.command()
def build(
    index: Annotated[str, typer.Option("--index", help="Factory string; {d}, {d/N} as in eval.")],
    output: Annotated[Path, typer.Option(help="File to write.")],
    dataset: Annotated[
        Optional[Path], typer.Option(help="HDF5 file: its base vectors and distance.")
    ] = None,
    input_file: Annotated[
        Optional[Path], typer.Option("--input", help="File of vectors: .fvecs, .bvecs or .npy.")
    ] = None,
    distance: Annotated[
        Optional[Distance],
        typer.Option(help="For --input; a data set says its own. [default: euclidean]"),
    ] = None,
    rows: Rows = None,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Build an index and write it to a file."""
    _set_threads(threads)
    _require_folder_of(output)
    if (dataset is None) == (input_file is None):
        raise BadArgument("expected either --dataset or --input")
    if dataset is not None:
        if distance is not None:
            raise BadArgument("--distance: not with --dataset, which says its own")
        loaded = data.read_dataset(dataset, rows, 1)
        base, kind = loaded.base, loaded.distance
    else:
        assert input_file is not None
        kind = (distance or Distance.euclidean).value
        base = data.read_vectors(input_file, rows)
        base = data.normalised(base) if kind == "angular" else base
    spec = expand_placeholders(index, base.shape[1])
    made = make_index(spec, base.shape[1], data.metric_of(kind))
    with report.progress_bar(spec) as tell:
        tell("training", 0, 0)
        begin = time.perf_counter()
        made.train(base)
        trained = time.perf_counter()
        made.add(base, progress=lambda done, n: tell("adding", done, n))
        added = time.perf_counter()
        tell("writing", 0, 0)
        rotorquant.write_index(made, output)
    if as_json:
        report.print_json(
            {
                "index": spec,
                "n": len(base),
                "d": made.d,
                "train_seconds": trained - begin,
                "add_seconds": added - trained,
                "output": str(output),
                "file_bytes": output.stat().st_size,
            }
        )
    else:
        typer.echo(
            f"{spec}: {len(base)} vectors of {made.d} dimensions, trained in "
            f"{trained - begin:.2f} s, added in {added - trained:.2f} s, written to {output}"
        )


def _require_match(index: rotorquant.Index, loaded: data.Dataset) -> None:
    """Searching an index with another set's queries would give numbers without meaning."""
    if loaded.queries.shape[1] != index.d:
        raise BadArgument(
            f"--dataset {loaded.name}: expected vectors of the index's {index.d} dimensions, "
            f"received {loaded.queries.shape[1]}"
        )
    # Normalised vectors have the same order by either metric.
    if loaded.distance != "angular" and index.metric != loaded.metric:
        raise BadArgument(
            f"--dataset {loaded.name}: expected vectors for the index's metric, {index.metric}, "
            f"received {loaded.distance}"
        )


@app.command()
def search(
    index_file: IndexFile,
    dataset: Annotated[Path, typer.Option(help="HDF5 file: its queries and true neighbours.")],
    k: K = 10,
    queries: Queries = None,
    threads: Threads = 1,
    param: Params = None,
    output: Annotated[
        Optional[Path],
        typer.Option(help="Where results go: ids as .ivecs, or ids and distances as .json."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Search a written index for a data set's queries."""
    _set_threads(threads)
    if output is not None and output.suffix not in (".ivecs", ".json"):
        raise BadArgument(
            f"--output: expected a name that ends in .ivecs or .json, received '{output}'"
        )
    settings = parse_params(param or [])
    with report.progress_bar(str(index_file)) as tell:
        tell("reading", 0, 0)
        index = rotorquant.read_index(index_file)
        loaded = data.read_dataset(dataset, None, queries)
        _require_match(index, loaded)
        setup = prepare_search(index, settings, threads)
        require_known(settings, [(index.factory_string, setup)])
        tell("searching", 0, 0)
        distances, ids, seconds = measure.search_batch(index, setup, loaded.queries, k, 1)
    if output is not None and output.suffix == ".ivecs":
        data.write_ivecs(output, ids)
    elif output is not None:
        found = {"k": k, "ids": ids.tolist(), "distances": distances.tolist()}
        output.write_text(json.dumps(found) + "\n")
    known = index.ntotal == len(loaded.base) and loaded.truth.shape[1] >= min(k, index.ntotal)
    result = {
        "index": index.factory_string,
        "n": index.ntotal,
        "dataset": loaded.name,
        "queries": len(loaded.queries),
        "k": k,
        "batch_qps": len(loaded.queries) / max(seconds, 1e-9),
        "recall_at_k": data.recall(loaded.truth, ids, k) if known else None,
    }
    if as_json:
        report.print_json(result)
        return
    recall = f"{result['recall_at_k']:.4f}" if known else "unknown: not the index's data set"
    typer.echo(f"index: {result['index']}, {index.ntotal} vectors")
    typer.echo(f"queries: {result['queries']} of {loaded.name}, {result['batch_qps']:.0f} a second")
    typer.echo(f"{k}-recall@{k}: {recall}")


@app.command()
def info(index_file: IndexFile, as_json: Json = False) -> None:
    """Say what an index file holds."""
    facts = measure.facts(rotorquant.read_index(index_file))
    facts["file bytes"] = index_file.stat().st_size
    if as_json:
        report.print_json(facts)
    else:
        report.print_facts(facts)


@app.command()
def convert(
    index_file: IndexFile,
    output: Annotated[Path, typer.Option(help="File to write, in rotorquant's format.")],
    index: Annotated[
        Optional[str],
        typer.Option(
            "--index", help="Decode the vectors and put them into an index of this factory string."
        ),
    ] = None,
    threads: Threads = 1,
) -> None:
    """Turn a file of FAISS (or ours) into one of ours, and into another kind of index."""
    _set_threads(threads)
    _require_folder_of(output)
    made = rotorquant.read_index(index_file)
    if index is not None:
        spec = expand_placeholders(index, made.d)
        make_index(spec, made.d, made.metric)  # refuses a bad string before the work
        with report.progress_bar(spec) as tell:
            made = convert_index(made, spec, lambda done, n: tell("converting", done, n))
    rotorquant.write_index(made, output)
    typer.echo(f"{made.factory_string}: {made.ntotal} vectors, written to {output}")


@app.command()
def plot(
    results: Annotated[list[Path], typer.Argument(help="Files of eval --json, any number.")],
    output: Annotated[
        Path, typer.Option(help="Picture to write: .png, .pdf or .svg.")
    ] = Path("recall.png"),
    title: Annotated[Optional[str], typer.Option(help="Title (default: the data set).")] = None,
) -> None:
    """Draw recall against queries a second and against bytes a vector."""
    from rotorquant.cli.plot import draw, read_results

    _require_folder_of(output)
    draw(read_results(results), output, title)
    typer.echo(f"written to {output}")


def run() -> int:
    """The program; returns its exit status."""
    try:
        status = app(standalone_mode=False)
        return int(status or 0)
    except BadArgument as error:
        report.note(f"rotorquant: {error}")
        return EXIT_BAD_ARGUMENTS
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _complain(error)


def _complain(error: Exception) -> int:
    # Typer carries its own copy of Click in some versions: known by their attributes.
    if hasattr(error, "exit_code") and hasattr(error, "show"):
        error.show()
        return EXIT_BAD_ARGUMENTS
    if type(error).__name__ in ("Abort", "Exit"):
        return int(getattr(error, "exit_code", 130))
    if isinstance(error, (rotorquant.Error, data.DatasetError, OSError, ValueError, MemoryError)):
        report.note(f"rotorquant: {error}")
        return EXIT_FAILED
    raise error
