"""Pictures in two steps: `*_info()` gives plain data that a test can read, `*_figure(info)` draws it."""
