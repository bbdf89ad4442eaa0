"""Dark rooms: agents beside players who know the room: ``python -m experiments.studies.darkroom``."""
