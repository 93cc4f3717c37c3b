"""What holds for every test: few threads, the same examples in each run, no network."""

import os

from hypothesis import settings

# Before anything imports numpy or torch: many small problems, which more threads only slow down.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ["WANDB_MODE"] = "offline"

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
