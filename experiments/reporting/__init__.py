"""Numbers of several runs, as tables, pictures and pages."""
