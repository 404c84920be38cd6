"""Fine-tuning on a folder of the user's own videos, from scan to result (`finetuning.finetune`)."""
