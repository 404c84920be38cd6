"""The worker process: it loads the model and makes the clips of the jobs table."""
