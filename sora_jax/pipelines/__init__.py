"""Generation pipelines: from a request to a clip. Every generation goes through
`generate.Pipeline.generate`.
"""
