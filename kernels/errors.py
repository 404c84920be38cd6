"""The error of an implementation that cannot do what was asked."""


class Unsupported(NotImplementedError):
    """One line: what was asked, what is supported, and what to install or change."""
