"""If this fails, a user measures a development build, and believes the figures."""

from pathlib import Path

BENCHES = Path(__file__).parents[2] / "benches"
# Servers that were started elsewhere say it themselves; kernels are optimised in every build;
# parsers are compared by what they read. The floods are those of `serving/faults.py`.
OTHERS = {
    "serving/compare.py",
    "serving/floods.py",
    "kernels/linear.py",
    "parsers/compare_vllm.py",
}


def test_benchmarks_name_a_development_build() -> None:
    """Its token costs 60 times as much."""
    benches = {str(path.relative_to(BENCHES)): path.read_text() for path in BENCHES.rglob("*.py")}
    silent = {name for name, text in benches.items() if "complain_of_development_build()" not in text}
    assert silent == OTHERS
