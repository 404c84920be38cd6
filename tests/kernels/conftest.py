"""Triton's interpreter stands in for a GPU; it must be chosen before triton is imported.

Triton exists for Linux only.
"""

import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]
