"""What must be in the environment before torch and transformers are imported."""

import os

# Threads that spin between operations make the tests several times slower where others use the cores too.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["HF_HUB_OFFLINE"] = "1"
