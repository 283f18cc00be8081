"""The expectations that the Rust chat templates are tested against are what jinja2 says today."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = "tests.text.make_chat_templates"
COMMITTED = ROOT / "rust/server/tests/data/chat_templates.json"


def test_expectations_are_current(tmp_path: Path) -> None:
    """A stale file would have the Rust test prove agreement with something that jinja2 never said."""
    made = tmp_path / "made.json"
    subprocess.run([sys.executable, "-m", SCRIPT, "--out", made], cwd=ROOT, check=True)
    current = made.read_text(encoding="utf-8") == COMMITTED.read_text(encoding="utf-8")
    assert current, f"run: python -m {SCRIPT}"


def test_every_outcome_occurs() -> None:
    """Without a conversation that is refused and one that fails, telling the two apart would go untested."""
    templates = json.loads(COMMITTED.read_text(encoding="utf-8"))["templates"]
    kinds = {kind for template in templates for outcome in template["expected"].values() for kind in outcome}
    assert kinds == {"text", "raised", "failed"}
