"""What the benchmark prints."""

from typing import Any

from experiments.benchmark.chunking import ALLOWED
from experiments.benchmark.growth import LABELS, TOLERANCE
from experiments.reporting import claims, tables
from experiments.reporting.claims import Claim
from experiments.reporting.tables import Table


def show(result: dict[str, Any]) -> None:
    """Tables of everything that was measured, at least 120 columns wide."""
    device, cpu = result["device"], result["cpu"]
    print(f"\n{device['count']} x {device['kind']} ({device['platform']}); {cpu['cores']} cores of {cpu['model']}")
    if result["settings"]["quick"]:
        print("--quick: sizes are tiny; these numbers mean nothing.")
    found = [_workloads(result["workloads"])] if result["workloads"] else []
    found.append(_ceilings(result["ceilings"]))
    if "growth" in result:
        found.append(_growth(result["growth"]))
    if "precision" in result:
        found.append(_precision(result["precision"]))
    for table in found:
        tables.show(table, least_width=120)
    claims.show(promises(result))


def promises(result: dict[str, Any]) -> list[Claim]:
    """What is promised of the sizes that time was measured to grow with, and of training runs."""
    sizes = result["growth"]["sizes"] if "growth" in result else {}
    found = [
        Claim(f"time grows no faster than linearly with {LABELS[name]}: exponent {entry['exponent']:.2f}", entry["kept"])
        for name, entry in sizes.items()
        if "kept" in entry
    ]
    if "chunks" in result:
        slower = result["chunks"]["slower"]
        text = "a training run that reports about once a second, against one long compiled call: "
        text += f"{slower['median']:+.1%} time ({slower['min']:+.1%} to {slower['max']:+.1%}); at most {ALLOWED:.0%}"
        found.append(Claim(text, result["chunks"]["kept"]))
    return found


def _workloads(rows: list[dict[str, Any]]) -> Table:
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
    cells = [(name, *values) for name, values in lines.items()]
    caption = (
        "Samples are environment steps, or examples in regression. x floor: time over the least that the counted\n"
        f"operations take at the device's ceilings ({rows[0]['floor']['model']})."
    )
    return Table(("", *(row["name"] for row in rows)), cells, "meta-iterations", caption=caption)


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
    rows = [
        ("products of large matrices", f"{limits['matmul'] / 1e9:,.1f} GFLOP"),
        *((f"  {name}", f"{rate / 1e9:,.1f} GFLOP") for name, rate in limits["matmul_of_work"].items()),
        ("elementwise", f"{limits['elementwise'] / 1e9:,.1f} G operations"),
        ("tanh", f"{limits['tanh'] / 1e9:,.2f} G values"),
        ("exp", f"{limits['exp'] / 1e9:,.2f} G values"),
        ("memory", f"{limits['bandwidth'] / 1e9:,.1f} GB"),
    ]
    return Table(("", "per second"), rows, "the device's ceilings, measured")


def _growth(found: dict[str, Any]) -> Table:
    rows = []
    for name, entry in found["sizes"].items():
        milliseconds = ", ".join(f"{1e3 * each['median']:.3g}" for each in entry["seconds_per_iteration"])
        rows.append((LABELS[name], ", ".join(map(str, entry["values"])), milliseconds, f"{entry['exponent']:.2f}"))
    caption = f"Promised: an exponent of at most 1, within {TOLERANCE} for noise; inner steps are not part of the promise."
    return Table(("", "sizes", "ms each", "exponent"), rows, "growth of the time of a meta-iteration", range(4), caption)


def _precision(found: dict[str, Any]) -> Table:
    rows = [(how, f"{errors['relative_error']:.1e}", f"{errors['cosine']:.6f}") for how, errors in found.items()]
    return Table(("", "relative error", "cosine"), rows, "meta-gradient of navigation against float64")
