"""Measurements of speed, memory and error, each row of which says what ran, on what, and how far it
is from what the device can do.

    run.py         the command: which suites, which implementations; writes rows as it goes
    harness.py     one case in one direction: inputs, forms, errors, samples, rows
    suites/        one file per suite: its workloads, and every way to compute them that the machine
                   may have
    workload.py    what a workload and a form of it are
    programs.py    a form compiled for one direction: JAX, PyTorch, or plain Python
    timing.py      interleaved samples, percentiles, kernel times
    device.py      names, ceilings, versions
    results.py     rows on disk;  compare.py  two sets of them;  report.py  tables and plots

Start reading at `harness.measure`.
"""
