"""What must be so before torch and transformers are imported, and before a test starts a program."""

import os
import signal

# Threads that spin between operations make the tests several times slower where others use the
# cores too.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["HF_HUB_OFFLINE"] = "1"
# `nohup`, and a shell for its jobs in the background, have the tests ignore these, and with them
# all that they start.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGHUP else signal.default_int_handler)
