"""Open WebUI: its own page in a headless browser, used as a person uses it, with this server behind it."""

from checks import check, question, run_checks, servers
from playwright.sync_api import Locator, expect
from webui import chromium, open_webui

SCRIPT = servers()[1]
TIMEOUT_MS = 120_000


def new_chat() -> None:
    """Begin a chat."""
    page.get_by_role("button", name="New Chat").or_(page.get_by_role("link", name="New Chat")).first.click()
    expect(page.locator(".chat-assistant")).to_have_count(0)


def ask(text: str) -> Locator:
    """Type a message and send it; gives the place of the answer."""
    num_answers = page.locator(".chat-assistant").count()
    page.locator("#chat-input").click()
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    expect(page.locator(".chat-assistant")).to_have_count(num_answers + 1)
    return page.locator(".chat-assistant").last


@check
def greeting() -> None:
    """Who types "Hello" sees the answer, and what the page asks for behind it comes, too: title, tags, follow-ups."""
    expect(ask("Hello")).to_have_text("Hello!")
    expect(page).to_have_title("A short greeting / Open WebUI")
    expect(page.get_by_role("button", name="How are you?")).to_be_visible()
    SCRIPT.wait_for(r'streamcore_requests_total\{finish_reason="stop"\}', 4)


@check
def thought() -> None:
    """A thought is folded away above the answer, and can be unfolded."""
    answer = ask(question("thought"))
    expect(answer).to_contain_text("It is 42.")
    expect(answer).not_to_contain_text("Six times seven.")
    answer.get_by_text("Thought for").click()
    expect(answer).to_contain_text("Six times seven.")


@check
def tool() -> None:
    """A tool of the page's own that the model calls is run, its result goes back, and the answer follows."""
    new_chat()
    answer = ask(question("clock"))
    expect(answer).to_contain_text("View Result from get_current_timestamp")
    expect(answer).to_contain_text("The clock has been read.")


@check
def stopped_stream() -> None:
    """What the model has said is on the page before the answer is whole, and the stop button ends it at the server."""
    new_chat()
    num_aborted = SCRIPT.num_aborted()
    expect(ask("hang")).to_have_text("One two")
    page.get_by_role("button", name="Stop").click()
    SCRIPT.wait_for_aborted(num_aborted + 1)


@check
def refusals() -> None:
    """A refusal shows the server's message, and the chat goes on behind it."""
    new_chat()
    expect(ask("500")).to_have_text("broken")
    expect(ask("429")).to_have_text("full")
    expect(ask("Hello")).to_have_text("Hello!")


@check
def broken_streams() -> None:
    """An answer that fails or is cut in the middle is not taken for a whole one."""
    new_chat()
    for case in ("error later", "cut"):
        expect(ask(case)).to_contain_text("Response payload is not completed")


with open_webui(f"{SCRIPT.url}/v1") as address, chromium() as page:
    page.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    page.goto(address)
    # What is new in this release, shown once to each new user.
    page.get_by_role("button", name="Okay, Let's Go!").click()
    run_checks()
