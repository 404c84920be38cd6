"""Procedural videos unlike the scenes of Playhouse, on which `experiments.finetune` is tried."""
