"""Reads video, audio and still images from files: video and audio through PyAV, stills through
Pillow.

`read_video` decodes a file. `fit_clip` converts a file of any size, rate and length to a clip of a
given format. `read_fitted` does both and keeps only the frames that the clip needs. `sora_jax.mp4`
writes clips.

Time 0 of a file is the moment its first frame appears. Audio is placed on that clock by its own
timestamps, so an audio track that starts late also starts late here. Codec padding is removed: the
priming samples before the audio (1,024 for aac) and the fill of its last block (aac has blocks of
1,024, so up to 64 ms at 16 kHz). Frame i of a file is on screen during [times[i], times[i+1]), with
`times` of `Media`. A clip of f frames/s shows the world at its frames' midpoints t_j = (j + 1/2) /
f (equation (1) of `sora_jax.modality`), so

    frame j of the clip = the frame of the file on screen at t_j                                 (1)

Frames are not blended, because a blend of two would show one ball twice. Audio is resampled by a
zero-phase polyphase filter (scipy.signal.resample_poly), which does not move onsets.

Frames are upright, have square pixels and the colours of BT.709 (`colour.py`), and are never two
fields at once (`decoding.py`). Audio of several channels is mixed to one (`mixing.py`). Where a
file's rotation, pixel shape or colours are not applied, a note says so.
"""

from sora_jax.media.audio import read_audio as read_audio
from sora_jax.media.decoded import EndOfFile as EndOfFile
from sora_jax.media.decoded import Media as Media
from sora_jax.media.fit import fit_clip as fit_clip
from sora_jax.media.fit import fit_sound as fit_sound
from sora_jax.media.fit import read_fitted as read_fitted
from sora_jax.media.stills import read_image as read_image
from sora_jax.media.video import read_video as read_video
