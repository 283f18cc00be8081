"""What a model loses with its weights in fewer bits: its perplexity on a text.

    python benches/runner/perplexity.py MODEL... [--quantize none,int8,int4] [--quantize-activations none,int8] [--pieces 64]

MODEL is a folder or a GGUF file. Each is loaded once for each of these ways to keep weights that are not in few bits already, and
to round activations before those that are.
The text is this repository's own pages of decisions, in pieces of two thousand characters that the model reads apart;
perplexity is e to the mean of how unlikely each token but the first of a piece was thought to be: less is better. The
first way of a model is what the others are compared with. The table is Markdown.
"""

import argparse
import math
import sys
from itertools import product
from pathlib import Path

from streamcore import LLM, SamplingParams
from streamcore.console import complain_of_development_build

PAGES = Path(__file__).resolve().parents[2] / "docs" / "decisions"
PIECE = 2000


def pieces(number: int) -> list[str]:
    """The text, cut."""
    text = "\n\n".join(page.read_text() for page in sorted(PAGES.glob("*.md")))
    return [text[first : first + PIECE] for first in range(0, len(text), PIECE)][:number]


def perplexity(model: str, quantize: str, activations: str, number: int) -> tuple[float, int]:
    """That of the text, and its number of tokens."""
    total, count = 0.0, 0
    options = {"quantize": quantize, "quantize_activations": activations}
    with LLM(model, **options, max_model_len=2048) as llm:
        for output in llm.generate(
            pieces(number), SamplingParams(max_tokens=0, prompt_logprobs=0), progress=False
        ):
            assert output.prompt_logprobs is not None
            known = [token.logprob for token in output.prompt_logprobs if token is not None]
            total -= sum(known)
            count += len(known)
    return math.exp(total / count), count


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--quantize", default="none,int8,int4")
    parser.add_argument("--quantize-activations", default="none")
    parser.add_argument("--pieces", type=int, default=64)
    arguments = parser.parse_args()
    complain_of_development_build()
    sys.stdout.write(
        "| model | weights | activations | tokens | perplexity | more |\n|---|---|---|---|---|---|\n"
    )
    for model in arguments.models:
        first: float | None = None
        ways = (arguments.quantize.split(","), arguments.quantize_activations.split(","))
        for quantize, activations in product(*ways):
            found, count = perplexity(model, quantize, activations, arguments.pieces)
            first = found if first is None else first
            more = f"{100 * (found / first - 1):.2f} %"
            sys.stdout.write(
                f"| {Path(model).name} | {quantize} | {activations} | {count} | {found:.3f} | {more} |\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
