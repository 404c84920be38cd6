"""The exception of an implementation that does not support a call."""


class Unsupported(NotImplementedError):
    """The error of an implementation that does not support a call. Its message is one line: the
    request, the supported range, and what to install or change.
    """
