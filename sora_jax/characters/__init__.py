"""Likeness by consent: who may be shown in generated clips, in which, and by whom.

    challenge     a phrase of three words, chosen a moment before, valid once
    capture       a clip in which a character of the world says it, as a camera would record it
    verifier      whether a capture shows one living speaker who says the phrase
    records       a `Character` and its owner, grants and restrictions, as JSON on disk
    restrictions  what an owner forbids, as predicates over the storyboard of a prompt
    gate          whether a request may show its characters

An account asks for a challenge, records a capture, and enrols it (`enrol.enrol`). Only then is
there a record, and only its owner may use it until it grants more. `Pipeline.generate` asks a
gate for every request that shows characters. The cast of the world (`worlds/playhouse/cast.py`)
carries a standing grant.

What is trusted: the camera. A capture is taken for the face of the account that records it;
nothing in a picture says whose face it is. The oracles know the faces and voices of the world
alone, so real people are refused, unless whoever runs the server gives a `Verifier` for them.
"""
