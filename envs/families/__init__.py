"""Task families, one file each. Their ids are in the table of `envs`."""
