"""Environments written in JAX as task families, inside the compiled sampler."""
