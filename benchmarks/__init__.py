"""Measurements.

    python -m benchmarks                 speed: training steps, sampling, overhead, scaling, beside other libraries
    python -m benchmarks compare A B     what got slower from one report to the next
    python -m benchmarks.import_time     what importing costs
    python -m benchmarks.mode_coverage   how many modes a GAN finds

How the speed benchmarks are built: `workloads` says what is measured and what we aim at, `libraries` holds each step
once per library, `serve` is the process that runs one of them, `measure` lets them take turns, `report` keeps the times
and computes ratios, `scaling` exponents, and `table`, `plot` and `compare` show them.
"""
