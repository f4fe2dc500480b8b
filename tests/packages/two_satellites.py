"""The smallest mission that trains over the split and sends all that it has to."""

from typing import Any

TWO_SATELLITES: dict[str, Any] = {
    "constellation.satellites": 2,
    "constellation.planes": 1,
    "constellation.phasing": 0,
    "data.train_samples": 32,
    "data.test_samples": 20,
    "data.partition": "iid",
    "training.rounds": 1,
    "training.batch_size": 8,
    "links.inter_orbit.topology": "none",
}
