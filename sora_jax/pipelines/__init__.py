"""From a request to a clip: every generation goes through `generate.Pipeline.generate`."""
