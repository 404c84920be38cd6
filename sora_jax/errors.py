"""Errors that a user can cause and mend, told in one line without a traceback (`cli.run_main`)."""


class UserError(Exception):
    """A mistake in what was asked, not in the code.

    The message is one line: what is wrong, where, what to do.
    """


class Preempted(KeyboardInterrupt):
    """Stopped by SIGTERM with all work saved. A scheduler asked for it: exit status 0."""
