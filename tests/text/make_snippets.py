"""Renders snippets of templates with jinja2 as transformers sets it up: what the Rust templates are held to.

    python -m tests.text.make_snippets                                    # rewrites the expectations
    python -m tests.text.make_snippets --seed 7 --cases 100000 --out F    # any number of others

With the second form, ``STREAMCORE_TEMPLATE_SNIPPETS=F cargo test -p streamcore-server --test text`` checks those, too.
"""

import argparse
import copy
import json
import re
from pathlib import Path

from tests.text.make_chat_templates import NOW, ROOT
from tests.text.snippet_parts import VARIABLES
from tests.text.snippets import Snippets
from transformers.utils.chat_template_utils import _compile_jinja_template

GOLDEN = ROOT / "rust/server/tests/data/template_snippets.json"
NUM_CASES = 3000


def rendered(source: str) -> str | None:
    """What jinja2 makes of a snippet; None if that is an error."""
    try:
        template = _compile_jinja_template(source)
        variables: dict[str, object] = {
            "messages": [],
            "tools": None,
            "documents": None,
            "add_generation_prompt": False,
        }
        # A copy, since the filter `indent` adds a line to the end of a list that it is given.
        text: str = template.render(**variables, strftime_now=strftime_now, **copy.deepcopy(VARIABLES))
        text.encode()
    except Exception:
        return None
    return text


def strftime_now(format: str) -> str:  # noqa: A002
    """The clock of the Rust tests."""
    return NOW.strftime(format)


def is_comparable(source: str, text: str | None) -> bool:
    """Addresses change from run to run, and some results have no counterpart by decision (docs/protocol.md)."""
    if text is None:
        return True
    is_set = re.search(r"- \(?(d|{})\.(keys|items)|(keys|items)\(\)\)? -", source) is not None
    return re.search("at.{0,4}0x|built-in|j\\)", text.lower()) is None and not is_set and len(text) < 400


def expectations(seed: int, num_cases: int) -> str:
    """The whole file, one case a line; about one in three is an error."""
    snippets = Snippets(seed)
    cases: dict[str, str | None] = {}
    num_errors = 0
    while len(cases) < num_cases:
        source = snippets.snippet()
        if source in cases:
            continue
        text = rendered(source)
        if text is None and num_errors > num_cases // 3:
            continue
        if is_comparable(source, text):
            num_errors += text is None
            cases[source] = text
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases.items())
    return f'{{"variables": {json.dumps(VARIABLES, ensure_ascii=False)},\n"cases": [\n{lines}\n]}}\n'


def main() -> None:
    """Writes the expectations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=NUM_CASES)
    parser.add_argument("--out", type=Path, default=GOLDEN)
    args = parser.parse_args()
    args.out.write_text(expectations(args.seed, args.cases), encoding="utf-8")


if __name__ == "__main__":
    main()
