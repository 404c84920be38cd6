"""Accelerated operations, importable without sora_jax. Each operation has one folder:

    <op>/api.py         the public function: argument checks, choice of an implementation,
                        derivative, batching, sharding
    <op>/reference.py   the specification in plain jax.numpy. It runs on every platform, and is also
                        the implementation called "xla"
    <op>/triton.py      for NVIDIA GPUs;  <op>/pallas_tpu.py  for TPUs
    <op>/specs.py       named workloads, shared by tests, benchmarks and tuning

Start reading at an operation's `api.py`.
"""
