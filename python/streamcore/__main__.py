"""`python -m streamcore` is the command `streamcore`."""

import sys

from streamcore.cli import main

sys.exit(main())
