"""One question a page: ask, compute, show."""
