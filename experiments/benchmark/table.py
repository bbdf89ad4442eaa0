"""What the benchmark prints."""

from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.benchmark.chunking import ALLOWED
from experiments.benchmark.growth import LABELS, TOLERANCE


def show(result: dict[str, Any], console: Console | None = None) -> None:
    """Tables of everything that was measured."""
    console = console or Console(width=max(Console().width, 120))  # a file is as wide as it needs to be
    device, cpu = result["device"], result["cpu"]
    console.print(f"\n{device['count']} x {device['kind']} ({device['platform']}); {cpu['cores']} cores of {cpu['model']}")
    if result["settings"]["quick"]:
        console.print("--quick: sizes are tiny; these numbers mean nothing.")
    if result["workloads"]:
        console.print(_workloads(result["workloads"]))
        console.print("Samples are environment steps, or examples in regression. x floor: time over the least that the counted")
        console.print(f"operations take at the device's ceilings ({result['workloads'][0]['floor']['model']}).")
    console.print(_ceilings(result["ceilings"]))
    if "growth" in result:
        _growth(result["growth"], console)
    if "chunks" in result:
        _chunks(result["chunks"], console)
    if "precision" in result:
        console.print(_precision(result["precision"]))


def _workloads(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="meta-iterations", title_justify="left")
    table.add_column("")
    for row in rows:
        table.add_column(row["name"], justify="right")
    lines = {
        "devices": [str(row["shape"]["devices"]) for row in rows],
        "size": [_size(row["shape"]) for row in rows],
        "meta-iterations / s": [f"{row['iterations_per_second']:,.2f}" for row in rows],
        "ms each, median": [f"{1e3 * row['seconds_per_iteration']['median']:,.2f}" for row in rows],
        "  least - greatest": [_extremes(row["seconds_per_iteration"]) for row in rows],
        "samples / s with the meta-gradient": [f"{row['samples_per_second']:,.0f}" for row in rows],
        "env steps / s of the sampler alone": [
            f"{row['sampler']['env_steps_per_second']:,.0f}" if row["sampler"] else "-" for row in rows
        ],
        "trace + compile, cache empty": [
            f"{row['compile']['trace_seconds']:.1f} + {row['compile']['compile_seconds']:.1f} s" for row in rows
        ],
        "both again, from the cache": [_seconds(row["compile"]["second_start_seconds"]) for row in rows],
        "memory of the program, each device": [_bytes(row["memory"]["program"]["total"]) for row in rows],
        "peak memory of the process": [_bytes(row["memory"]["process_peak"]) for row in rows],
        "operations: products": [f"{row['cost']['matmul']:.3g}" for row in rows],
        "  elementwise": [f"{row['cost']['elementwise']:.3g}" for row in rows],
        "  transcendental": [f"{row['cost']['transcendental']:.3g}" for row in rows],
        "bytes in and out": [_bytes(row["interface_bytes"]) for row in rows],
        "operations / s": [f"{row['operations_per_second']:.3g}" for row in rows],
        "floor, ms": [f"{1e3 * row['floor']['seconds']:.3g}" for row in rows],
        "x floor": [
            f"{row['times_the_floor']:.1f}" + (" (physics not counted)" if row["cost"]["calls_out"] else "") for row in rows
        ],
    }
    for name, values in lines.items():
        table.add_row(name, *values)
    return table


def _size(shape: dict[str, Any]) -> str:
    names = ("num_tasks", "num_episodes", "horizon") if "horizon" in shape else ("num_tasks", "num_shots")
    return " x ".join(str(shape[name]) for name in names)


def _extremes(times: dict[str, Any]) -> str:
    return f"{1e3 * times['min']:,.2f} - {1e3 * times['max']:,.2f}"


def _seconds(value: float | None) -> str:
    return "not cached" if value is None else f"{value:.1f} s"


def _bytes(value: int | None) -> str:
    if value is None:
        return "-"
    return f"{value / 2**20:,.1f} MiB" if value >= 2**20 else f"{value / 2**10:,.1f} KiB"


def _ceilings(limits: dict[str, Any]) -> Table:
    table = Table(title="the device's ceilings, measured", title_justify="left")
    table.add_column("")
    table.add_column("per second", justify="right")
    table.add_row("products of large matrices", f"{limits['matmul'] / 1e9:,.1f} GFLOP")
    for name, rate in limits["matmul_of_work"].items():
        table.add_row(f"  {name}", f"{rate / 1e9:,.1f} GFLOP")
    table.add_row("elementwise", f"{limits['elementwise'] / 1e9:,.1f} G operations")
    table.add_row("tanh", f"{limits['tanh'] / 1e9:,.2f} G values")
    table.add_row("exp", f"{limits['exp'] / 1e9:,.2f} G values")
    table.add_row("memory", f"{limits['bandwidth'] / 1e9:,.1f} GB")
    return table


def _growth(found: dict[str, Any], console: Console) -> None:
    table = Table(title="growth of the time of a meta-iteration", title_justify="left")
    for heading in ("", "sizes", "ms each", "exponent", "no faster than linear"):
        table.add_column(heading)
    for name, entry in found["sizes"].items():
        milliseconds = ", ".join(f"{1e3 * each['median']:.3g}" for each in entry["seconds_per_iteration"])
        promise = {True: "kept", False: "not kept", None: "-"}[entry.get("kept")]
        sizes = ", ".join(map(str, entry["values"]))
        table.add_row(LABELS[name], sizes, milliseconds, f"{entry['exponent']:.2f}", promise)
    console.print(table)
    console.print(f"Kept: an exponent of at most 1, within {TOLERANCE} for noise; inner steps are not part of the promise.")


def _chunks(found: dict[str, Any], console: Console) -> None:
    slower, promise = found["slower"], "kept" if found["kept"] else "not kept"
    console.print(
        f"a training run that reports about once a second, against one long compiled call: {slower['median']:+.1%} time "
        f"({slower['min']:+.1%} to {slower['max']:+.1%}); at most {ALLOWED:.0%}: {promise}"
    )


def _precision(found: dict[str, Any]) -> Table:
    table = Table(title="meta-gradient of navigation against float64", title_justify="left")
    for heading in ("", "relative error", "cosine"):
        table.add_column(heading)
    for how, errors in found.items():
        table.add_row(how, f"{errors['relative_error']:.1e}", f"{errors['cosine']:.6f}")
    return table
