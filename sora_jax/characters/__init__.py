"""Likeness by consent: who may be shown in generated clips, in which, and by whom.

    challenge     a phrase of three words, drawn a moment before, valid once
    capture       a simulated recording in which a character of the world says the phrase
    verifier      whether a capture shows one living speaker who says the phrase
    records       a `Character` and its owner, grant and restrictions, as JSON on disk
    restrictions  what an owner forbids, checked against the storyboard of a prompt
    gate          whether a request may show its characters

An account asks for a challenge, records a capture, and enrols it (`enrol.enrol`). Only then is
there a record, and only its owner may use it until the owner grants it to others. `Pipeline`
asks a gate for every request that shows characters. Everybody may show the cast of the world
(`worlds/playhouse/cast.py`).

The camera is trusted: a capture counts as the face of the account that records it, because nothing
in a picture says whose face it is. The oracles know only the faces and voices of the world, so
real people are refused, unless whoever runs the server gives a `Verifier` for them.
"""
