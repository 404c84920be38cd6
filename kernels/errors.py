"""The exception of an implementation that does not support a call."""


class Unsupported(NotImplementedError):
    """One line: the request, the supported range, and what to install or change."""
