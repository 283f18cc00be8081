"""The scripted model of `streamcore._core`. A page of the stub alone."""

from typing import final

from streamcore._core import TextModel

@final
class Script:
    """Scripted answers instead of a model's, see `docs/testing-clients.md`.

    Args:
        json: the script.
        text: the model whose tokenizer and template are used; it learns the script's pieces as
            tokens, and its parsers.
        keeps_requests: whether `requests` has what the server was asked.
        tool_call_parser: one of `parser_names`; "auto": the script's, else "hermes" where it has
            calls.
        reasoning_parser: the same for reasoning, "qwen3" where it has some.

    Raises:
        RuntimeError: `text` already belongs to a server.
        ValueError: what is wrong with the script, and where.
    """

    def __new__(
        cls,
        json: str,
        text: TextModel,
        *,
        keeps_requests: bool = False,
        tool_call_parser: str = "auto",
        reasoning_parser: str = "auto",
    ) -> Script: ...
    @property
    def served_model_names(self) -> list[str]:
        """The names that the script serves its model under; may be none."""
    def check_served(self, names: list[str]) -> None:
        """Raises ValueError if a rule is for a model that is not among these names."""
    @property
    def vocab_size(self) -> int:
        """Tokens that the model knows, pieces included."""
    def example(self, model: str) -> str | None:
        """A question that some rule answers when it is asked of this model; None if the rules show
        none.
        """
    @property
    def requests(self) -> list[tuple[str, str, list[tuple[str, str]], bytes]]:
        """The last requests, if they are kept: method, path with query, names and values of the
        headers, body.
        """
    @property
    def num_replies(self) -> int:
        """How often it was asked for an answer or an error: once for each choice of each valid
        request.
        """
