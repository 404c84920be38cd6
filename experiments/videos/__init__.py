"""A folder of procedural videos that are none of Playhouse's, for trying `experiments.finetune`."""
