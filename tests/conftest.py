"""Commands have flags of the same names, and a test process imports several of them: here the later definition counts, where absl refuses it."""

from absl import flags

_init = flags.Flag.__init__


def _may_be_defined_again(self, *args, **kwargs):
    _init(self, *args, **kwargs)
    self.allow_override = True


flags.Flag.__init__ = _may_be_defined_again
