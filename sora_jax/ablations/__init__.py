"""Ablations: trains the arms of a sweep over several seeds, and compares them.

    sweep     the language of sweep files, and their trials
    budget    arms of equal FLOPs
    trial     trains one trial, and writes its record
    runner    runs trials side by side, each in a process of its own
    compare   paired differences between arms, with intervals
    report    the study as Markdown and figures

An arm is a configuration that is compared with others, a trial one arm with one seed, and a study a
sweep with its results. `experiments.ablate` runs a sweep and `experiments.report` reports it.
"""
