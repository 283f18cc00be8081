"""Makes the embedded demo model: its text, tokenizer, weights and report.

`python -m demo.train` does everything; `docs/demo-model.md` says what comes out.
"""
