"""Measurements, each runnable as `python -m benchmarks.NAME`. They print numbers and assert nothing."""
