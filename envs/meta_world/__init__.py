"""Meta-World's benchmarks as task families; nothing here imports the package `metaworld` before a family is made."""
