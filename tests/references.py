"""What the server is compared with: releases of other programs, at the oldest that say what they say today."""

from importlib.metadata import version

import pytest
from packaging.version import Version

# Knows all families of models, reads config.json and folders as they are written today.
TRANSFORMERS = "5.20"
# Says what the stored answers of templates say.
JINJA2 = "3.1.6"


def skip_before(package: str, oldest: str) -> None:
    """Skips the test if an older release of its reference is installed, as for `make test-oldest`."""
    if Version(version(package)) < Version(oldest):
        pytest.skip(f"compared with {package} {oldest} and later")
