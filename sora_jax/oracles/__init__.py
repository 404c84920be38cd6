"""Oracles: measurements that read from pixels and samples what a clip shows, without a learned
model and without seeing the scene.

    tracker     where each ball is
    facts       what a caption would say
    onsets      when things strike
    arcs        how the balls move in between
    sync        do picture and sound agree
    material    what is struck, by ear
    physics     do the balls move as bodies do
    loudness    is faster louder
    words       what is said
    ringing     a sound without what was struck
    camera      where a film's camera looks
    style       what a clip is drawn like
    phyworld    how PhyWorld's balls move
    outcome     what comes of an action
    permanence  is a ball hidden still there

An oracle is one file: what it reads, when that is correct, and which corruptions must make it wrong
(`base.Oracle`). `catalogue.ORACLES` has them by name, and those that users register.

`reading.read_clip` says what the first six read. Each is calibrated
(`sora_jax.evaluation.calibrate`): near-perfect on ground truth, stable under blur, noise and
compression, and failing on corrupted and shuffled clips. `sora_jax.evaluation` turns readings into
scores.
"""
