"""What a mission is made of before any satellite is asked: imagery, model, orbits, contact plan."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from learning.imagery import imagery_of
from learning.model import base_of
from learning.split_model import split_model
from learning.task import task_of
from mission.orbits import constellation_of, contact_plan_of
from orbit.constellation import Constellation
from orbit.contact_plan import ContactPlan
from orbit.files.contact_plan_files import save
from server_app.labelled import in_units
from server_app.run import ServerRun
from splitmodel.costs.profile import profile
from splitmodel.costs.published import Profile
from splitmodel.crossing.scaling import Scaling
from splitmodel.dense_heads import standardised
from splitmodel.imagery import ImageSet
from splitmodel.imagery.fitting import fitted
from splitmodel.lora.adapters import LoraSettings, make_trainable
from splitmodel.parts import SplitModel
from splitmodel.tasks import Task
from strategies.enrolment import EnrolledClients

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True, eq=False)
class MissionInputs:
    """The parts of a mission.

    Attributes:
        test: Images that only score the result.
        task: What they are labelled for.
        model: The split model, made trainable.
        base: What the model was loaded from.
        lora: Settings of its adapters.
        adapter: LoRA as ``peft`` writes it, none in ``head`` mode.
        costs: Sizes and FLOPs of the model's parts.
        constellation: The satellites.
        contact_plan: All contacts of the horizon.
    """

    test: ImageSet
    task: Task
    _: KW_ONLY
    model: SplitModel
    base: str | Path
    lora: LoraSettings
    adapter: PeftModel | None
    costs: Profile
    constellation: Constellation
    contact_plan: ContactPlan

    @property
    def satellites(self) -> tuple[str, ...]:
        """Names, in the order of the constellation."""
        return self.constellation.names

    def fit_bands(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        """Have the model's preprocessing use these statistics of the bands."""
        embedding = self.model.embedding
        embedding.preprocess = fitted(
            embedding.preprocess, self.test, mean=tuple(mean), deviation=tuple(deviation)
        )

    def with_scaled_head(self, pooled: Scaling) -> MissionInputs:
        """Return the mission with a head that standardises its states, as satellites train it."""
        head = standardised(self.model.head, pooled)
        return dataclasses.replace(self, model=dataclasses.replace(self.model, head=head))

    def in_units_of(self, clients: EnrolledClients) -> MissionInputs:
        """Return the mission with targets that are scaled as those of all satellites, where they are numbers."""
        return dataclasses.replace(self, task=in_units(self.task, clients))


def load_mission(run: ServerRun) -> MissionInputs:
    """Open the imagery, load and split the model, and compute who sees whom when."""
    scenario, record = run.scenario, run.record
    torch.manual_seed(scenario.seed)
    if "OMP_NUM_THREADS" not in os.environ:  # which torch follows by itself
        # Half of the cores: in a simulation the satellites compute on the others, and threads that wait for one spin.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    test = imagery_of(scenario.data, scenario.seed).test
    task = task_of(scenario, test)
    base = base_of(scenario.model)
    model = split_model(scenario, task, base, split=scenario.split, random_init=scenario.model.random_init)
    test = test.for_model(model.preprocess)
    if scenario.data.statistics == "model":
        model.embedding.preprocess = fitted(model.preprocess, test)
    training, lora = scenario.training, LoraSettings(**scenario.lora.model_dump())
    costs = dataclasses.replace(
        profile(model, lora), image_bytes=test.typical_bytes(), **task.target_costs(model.embedding.grid)
    )
    adapter = make_trainable(
        model.backbone, training.mode, lora, seed=scenario.seed, adapted_blocks=training.adapted_blocks
    )
    record.note(phase="computing the contact plan")
    constellation = constellation_of(scenario)
    contact_plan = contact_plan_of(scenario, constellation)
    save(contact_plan, record.directory / "contacts.parquet")
    return MissionInputs(
        test,
        task,
        model=model,
        base=base,
        lora=lora,
        adapter=adapter,
        costs=costs,
        constellation=constellation,
        contact_plan=contact_plan,
    )
