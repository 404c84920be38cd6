"""Records a character with its owner's consent, and asks whether another account may show it.

python docs/examples/consent.py
"""

import tempfile

from sora_jax.characters.capture import FORMAT, capture
from sora_jax.characters.challenge import Challenges
from sora_jax.characters.enrol import enrol
from sora_jax.characters.gate import Gate
from sora_jax.characters.records import Records
from sora_jax.characters.verifier import OracleVerifier
from sora_jax.errors import UserError
from sora_jax.oracles.examples import render_takes
from sora_jax.pipelines.likeness import Likeness
from sora_jax.worlds.playhouse.cast import catalogue
from sora_jax.worlds.playhouse.references import references

PROMPT = 'realistic, in the rain, the face of @mika: @mika says "floor two"'

challenges, records = Challenges(), Records(tempfile.mkdtemp())
challenge = challenges.issue("ann")  # challenge.words are the phrase
# A camera would record this: a character of the world turns its head and says the phrase.
person = catalogue("held_out")[3]
(clip,) = render_takes([capture(person, challenge.words, seed=50)], FORMAT, 1)
shown = references(person, 7)  # four stills and a voice
assert shown.samples is not None  # animals have none
parts = (clip, shown.stills, shown.samples, challenges, OracleVerifier(), records)
mika = enrol("ann", "mika", challenge.number, *parts)
print(f"recorded @{mika.handle} of {mika.owner}, granted to {mika.grant}")

likeness = Likeness(shown.stills, shown.samples)
bob = Gate("bob", records)  # `pipeline.gate` of whoever generates for bob
try:
    bob.check(PROMPT, {"mika": likeness})
except UserError as error:
    print("refused:", error)
records.set_grant("mika", "ann", "accounts", ["bob"])
bob.check(PROMPT, {"mika": likeness})  # admitted
records.restrict("mika", "ann", ["never says two"])
try:
    bob.check(PROMPT, {"mika": likeness})
except UserError as error:
    print("refused:", error)
