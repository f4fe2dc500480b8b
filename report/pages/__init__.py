"""The pages that a person opens: a run, several runs, a plan, a comparison, cuts, access."""
