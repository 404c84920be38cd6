"""Measurements of speed, memory and error.

Each result row names the program, the device, and the distance from the device's limit.

    run.py         the command: selects suites and implementations, appends rows
    harness.py     one case in one direction: inputs, forms, errors, samples, rows
    suites/        one file for each suite: its workloads, and every available way to compute them
    workload.py    the types of a workload and of a form, one way to compute it
    programs.py    a form compiled for one direction: JAX, PyTorch or plain Python
    timing.py      interleaved samples, percentiles, kernel times
    device.py      names, ceilings, versions
    results.py     rows on disk;  compare.py  compares two sets;  report.py  tables and plots

Start reading at `harness.measure`.
"""
