"""The estimate of what is left is made from steps, not from the compilation before them."""

import io
import re
import time

from sora_jax.progress import Progress


def test_compilation_is_no_step():
    drawn = io.StringIO()
    progress = Progress(drawn)
    for job in ("first", "second"):
        with progress.job(job) as show:
            # as if compiling: an estimate that counts it says a minute and more for what is left
            time.sleep(1.0)
            for done in (*range(1, 31), 100):
                show(done, 100)
                time.sleep(0.02)
    said = drawn.getvalue()
    assert (
        said.count("compiling ...") == 1
        and "first: compiling ..." in said
        and "second: decoding ...: 100%" in said
    )
    left = [60 * int(m) + int(s) for m, s in re.findall(r"<(\d+):(\d+)", said)]
    assert len(left) > 4 and max(left) < 20
