"""Rows and tables of ``benchmarks/experiments/lpm_ablations.py``, without its training."""

from benchmarks.experiments import lpm_ablations

ASKED = {"base": "one", "samples": 8}


def row(run, trained):
    held, wanted, method, share = run
    costs = {"base_held": [2.0, 4.0], "trained": trained, "base_at_its_own_rate": [1.0, 2.0]}
    return {"held": held, "wanted": wanted, "method": method, "share": share, "pictures": 3, **costs}


def test_a_killed_run_goes_on(tmp_path):
    path = tmp_path / "kept.json"
    kept = lpm_ablations.resumed(ASKED, path)
    assert lpm_ablations.missing(kept) == list(lpm_ablations.RUNS)
    assert len(set(lpm_ablations.RUNS)) == len(lpm_ablations.RUNS) == 3 * 5 + 2 * 3 - 1  # one serves both tables
    kept["rows"].append(row(lpm_ablations.RUNS[0], [1.0, 2.0]))
    lpm_ablations.write(kept, path)
    again = lpm_ablations.resumed(ASKED, path)
    assert again == kept
    assert lpm_ablations.missing(again) == list(lpm_ablations.RUNS[1:])
    assert lpm_ablations.resumed(ASKED | {"base": "another"}, path)["rows"] == []


def test_tables_say_what_is_measured_and_what_is_not():
    first = lpm_ablations.tables({"rows": []})
    assert "Best" not in first
    assert first.count("–") == 3 * 8 + 3 * 2
    near = 0.0067
    rows = [
        row(run, [1.0, 2.0] if run[0] == near or run[2] == lpm_ablations.ALL else [1.8, 3.8])
        for run in lpm_ablations.RUNS
    ]
    starts, pictures = lpm_ablations.tables({"rows": rows}).split("\n\n| pictures")
    assert starts.endswith(f"Best on average: λ0 = {near:g}.")
    best = next(line for line in starts.splitlines() if line.startswith(f"| {near:g} |")).split(" | ")
    assert best[3] == "–"  # nothing is trained for λ0 itself
    assert best[1] == best[7] == "+100.0 → +0.0"
    assert best[8] == "+50.00 ± 0.00 % |"
    other = next(line for line in starts.splitlines() if line.startswith("| 0.0018 |")).split(" | ")
    assert other[7] == "+100.0 → +86.7"
    assert other[8] == "+7.50 ± 2.50 % |"  # 10 % of one crop, 5 % of the other
    assert "| 10 % (3) | +50.00 ± 0.00 % | +50.00 ± 0.00 % |" in pictures
