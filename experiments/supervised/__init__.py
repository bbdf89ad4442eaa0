"""The supervised benchmarks: their protocols, and their evaluation on held-out tasks."""
