"""Oracles: hand-written measurements of a clip, read from its pixels and samples alone. They use no
neural network and never see the simulated scene. The modules, most of which define one oracle:

    tracker     position of each ball in each frame
    facts       the facts that a caption would state
    onsets      times of impacts, in the video and in the audio
    arcs        motion of each ball between impacts
    sync        agreement of video and audio impacts
    material    material of the struck ball, from the audio
    physics     whether the motion obeys the laws of mechanics
    loudness    whether faster impacts are louder
    words       spoken words
    ringing     audio with the impact sounds removed
    camera      camera motion of a film
    style       rendering style of a clip
    phyworld    motion of the balls of the PhyWorld tasks (the oracle `motion`)
    outcome     outcome of an action (throw, shot, jump)
    permanence  whether a ball hidden by a panel persists
    cuts        times at which a new shot begins
    ambience    the background sound: wind, hum, rain, crickets or silence
    lips        whether mouths follow the speech
    speakers    whose mouth moves, and in whose voice
    identity    whose face is seen
    shots       what each shot of a story (a clip with cuts) shows
    state       whether what a story shows persists until it is shown again

One file defines one oracle: what it reads, when the reading is correct, and which corruptions
(changes of a clip) must make it incorrect (`base.Oracle`). `catalogue.ORACLES` lists the oracles by
name, including those that users register.

`read_clip.read_clip` returns what they read in one clip. Every oracle is calibrated
(`sora_jax.evaluation.calibrate`): near-perfect on ground truth, stable under blur, noise and
compression, and failing on corrupted and shuffled clips. `sora_jax.evaluation` turns readings
into scores.
"""
