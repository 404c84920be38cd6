"""Pictures of the folder of procedural videos."""

import numpy as np
import pytest

from experiments.videos import pictures


@pytest.mark.parametrize("name", pictures.BACKGROUNDS)
def test_contrast_of_backgrounds(name):
    colours = np.array(pictures.BACKGROUNDS[name][:2])
    for seed in range(4):
        share = pictures.background(pictures.Shot(f"{name}-bar", "WAVE", seed), 64, 64)[..., None]
        grey = ((1 - share) * colours[0] + share * colours[1]).mean(-1)
        assert np.ptp(grey) >= 0.3
