"""Trackers of one's own: a CSV file, and Weights & Biases without a network."""

import csv

from report.trackers import Tracker


class CsvTracker(Tracker):
    """One line per round and figure, in `rounds.csv` of the run directory."""

    def begin(self, run):
        """Start the file anew."""
        self.path = run.directory / "rounds.csv"
        self.rows = [("round", "utc_s", "figure", "value")]

    def log(self, round_number, utc_s, figures):
        """Note a round."""
        self.rows += [(round_number, utc_s, name, value) for name, value in figures.items()]

    def end(self):
        """Write the file."""
        with self.path.open("w", newline="") as file:
            csv.writer(file).writerows(self.rows)
        return str(self.path)


class WandbTracker(Tracker):
    """An offline run of Weights & Biases in the run directory; `wandb sync` sends it later."""

    def __init__(self):
        """Import the package, so that its absence is known before anything is written."""
        import wandb

        self.wandb = wandb

    def begin(self, run):
        """Start the run."""
        self.run = self.wandb.init(
            project="skysplit",
            name=run.directory.name,
            dir=str(run.directory),
            config=dict(run.settings),
            mode="offline",
        )
        self.run.define_metric("*", step_metric="mission/utc_s")

    def log(self, round_number, utc_s, figures):
        """Log a round's figures."""
        self.run.log({"mission/utc_s": utc_s, **figures}, step=round_number)

    def end(self):
        """Finish the run."""
        folder = self.run.dir
        self.run.finish()
        return str(folder)
