"""Benchmarks: measurements of the speed, memory and error of operations.

A workload, or case, is an operation at given shapes. A form is one way to compute it. A direction
is the forward pass, the backward pass or both. Each result is a row: it names the program and the
device, and compares the time with the least that the device allows (its roofline).

    run.py         the command: selects suites and implementations, appends rows
    harness.py     measures one case in one direction: inputs, forms, errors, samples, rows
    suites/        one file for each suite: its workloads, and every available form of them
    workload.py    the types of workloads and forms
    programs.py    a form compiled for one direction: JAX, PyTorch or plain Python
    timing.py      interleaved samples, percentiles, kernel times
    device.py      the device: name, ceilings (bandwidth and FLOP/s), versions
    results.py     rows on disk;  compare.py  compares two sets;  report.py  tables and plots
    short_*.py     fifteen minutes of measurements and training on a new GPU;  adopt.py  keeps them
    documents.py   fills the tables of the documents from committed results

Start reading at `harness.measure`.
"""
