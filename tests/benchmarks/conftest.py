"""Triton's interpreter stands in for a GPU; it must be chosen before triton is imported."""

import os

os.environ["TRITON_INTERPRET"] = "1"
