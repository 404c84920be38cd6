"""Generation pipelines: from a request (`request.Request`) to a generated clip
(`generated.Generated`). Every generation goes through `generate.Pipeline.generate_batch`.
"""
