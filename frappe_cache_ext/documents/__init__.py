"""Documents on a real database, and their cache: the only room that knows transactions."""
