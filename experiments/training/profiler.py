"""A trace of one compiled call, for the profilers that read JAX's."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from experiments.cli.luxuries import luxury


@contextlib.contextmanager
def profiled(folder: Path | None) -> Iterator[None]:
    """Record what runs inside to ``folder``; nothing if None.

    xprof and TensorBoard read the folder, ui.perfetto.dev the file that ends in .trace.json.gz. On a CPU every loop step is
    an event: expect some hundred megabytes and half a minute for one meta-iteration of navigation.
    """
    if folder is None:
        yield
        return
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # the work is in the compiled program
    trace = contextlib.ExitStack()
    with luxury("the trace"):
        trace.enter_context(jax.profiler.trace(str(folder), profiler_options=options))
    try:
        yield
    finally:
        with luxury("the trace"):
            trace.close()
            print(f"wrote a trace of one compiled call to {folder}")
