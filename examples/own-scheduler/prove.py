"""Prove the strategy on drawn worlds."""

from strategies.testing import check_strategies

if __name__ == "__main__":
    print(check_strategies(space_ground="most-need"))
