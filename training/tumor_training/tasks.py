"""The two learning tasks as Lightning modules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import BinaryAUROC

from tumor_training.batches import Batch
from tumor_training.losses import cells_cross_entropy, dice_cross_entropy
from tumor_training.metrics import PatientDice
from tumor_training.networks import TumorClassifier, TumorSegmenter
from tumor_training.networks.folding import load_folded, measure_norms
from tumor_training.networks.normalise import to_unit_range
from tumor_training.networks.segmenter import WIDTH
from tumor_training.networks.weights import RANDOM, SHIPPED, read_shipped
from tumor_training.transforms import AugmentOptions, augment
from tumorctl.contract import CLASSIFIER, SEGMENTER
from tumorctl.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Which network, and where it starts from: see `build_resnet`, or ``shipped`` for the shipped one of its kind."""

    depth: int = 18
    weights: str = RANDOM
    width: int = WIDTH

    @property
    def resnet_weights(self) -> str:
        """What its ResNet starts from, before a shipped network takes its place."""
        return RANDOM if self.weights == SHIPPED else self.weights


@dataclass(frozen=True, slots=True)
class OptimizerOptions:
    """AdamW under a one-cycle schedule (Smith 2018).

    Attributes:
        learning_rate: the highest, reached after a quarter of the run.
        weight_decay: AdamW's.
        one_cycle: whether the rate rises and falls over the run; else it stays where it is.
        frozen_epochs: epochs at the start in which the encoder's weights stay as they are; its norms keep adapting.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    one_cycle: bool = True
    frozen_epochs: int = 0


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Everything a task needs but the data; stored in its checkpoints.

    Attributes:
        network: which, and where it starts from.
        optimizer: how it learns.
        augment: random changes to what it sees.
        slice_dice: part of the segmenter's Dice loss that is taken slice by slice, in [0, 1].
        seed: of all that is random.
    """

    network: NetworkOptions = field(default_factory=NetworkOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    slice_dice: float = 0.0
    seed: int = 0

    def to_dict(self) -> dict[str, object]:
        """Plain values, as a checkpoint keeps them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, dict[str, object]]) -> TaskOptions:
        """The inverse of `to_dict`."""
        return cls(
            network=NetworkOptions(**content["network"]),  # type: ignore[arg-type]
            optimizer=OptimizerOptions(**content["optimizer"]),  # type: ignore[arg-type]
            augment=AugmentOptions(**content["augment"]),  # type: ignore[arg-type]
            slice_dice=content["slice_dice"],  # type: ignore[arg-type]
            seed=content["seed"],  # type: ignore[arg-type]
        )


class Task(lightning.LightningModule):
    """What both tasks share: augmentation, optimizer, checkpoints that say how they were made."""

    monitor: str
    served_name: str
    network: nn.Module

    def __init__(self, options: TaskOptions) -> None:
        super().__init__()
        self.options = options
        self.save_hyperparameters({"task": type(self).__name__, "options": options.to_dict()})
        self._random = torch.Generator()
        self.channels_last = False
        self._compiled: Callable[[Tensor], Tensor] | None = None

    def start_from_shipped(self) -> None:
        """Take the shipped network's weights where the options say so."""
        if self.options.network.weights == SHIPPED:
            load_folded(self.network, read_shipped(self.served_name))

    def measure_norms(self, images: Tensor) -> None:
        """Ready a network that started from a shipped one, whose norms are folded, for training.

        Args:
            images: some of the training slices as read, uint8, shape (batch, row, column, 3).
        """
        measure_norms(self.network, to_unit_range(images))

    def use_channels_last(self) -> None:
        """Keep the channels of a pixel together in memory, as convolutions on GPUs and in bfloat16 like it."""
        self.channels_last = True
        self.network.to(memory_format=torch.channels_last)

    def compile_network(self) -> None:
        """Train through torch.compile; what is validated and kept is the network itself."""
        self._compiled = torch.compile(self.learner())

    def learner(self) -> Callable[[Tensor], Tensor]:
        """What computes the logits that the loss takes."""
        return self.network

    def on_train_epoch_start(self) -> None:
        """Fix the encoder for its first epochs."""
        if self.options.optimizer.frozen_epochs:
            for parameter in self.encoder_parameters():
                parameter.requires_grad = self.current_epoch >= self.options.optimizer.frozen_epochs

    @abstractmethod
    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """What the network took from the ResNet that it started from."""

    @abstractmethod
    def loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """The loss of one augmented batch; logits are the learner's, masks 0 or 1, shape (batch, 1, row, column)."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the network, or in training of its learner, for images in [0, 1], shape (batch, 3, row, column)."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self.training:
            # Not "or", which would ask a compiled network for its length.
            return (self.learner() if self._compiled is None else self._compiled)(images)
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """One augmented batch."""
        # Seeded by the step, not by what was drawn before: a resumed run sees what an unbroken one would.
        self._random.manual_seed(hash((self.options.seed, self.global_step, self.global_rank)) % 2**63)
        images, masks = to_unit_range(batch["images"]), batch["masks"].unsqueeze(1).float()
        with torch.autocast(self.device.type, enabled=False):
            images, masks = augment(images, masks, self.options.augment, self._random)
        loss = self.loss(self(images), masks)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def on_train_start(self) -> None:
        """Refuse to resume a run under a schedule of another length.

        Raises:
            InvalidInput: the run was begun with other epochs, batches or data.
        """
        if not self.options.optimizer.one_cycle:
            return
        schedule = self.lr_schedulers()
        assert isinstance(schedule, torch.optim.lr_scheduler.OneCycleLR)
        if schedule.total_steps != self._steps():
            raise InvalidInput(
                f"the run was begun with {schedule.total_steps} steps and would go on with {self._steps()}: "
                "resume it as it was begun, or start anew"
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW without decay on norms and biases, by default one cycle over the whole run."""
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(
            groups,
            lr=self.options.optimizer.learning_rate,
            weight_decay=self.options.optimizer.weight_decay,
        )
        if not self.options.optimizer.one_cycle:
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.options.optimizer.learning_rate,
            total_steps=self._steps(),
            pct_start=0.25,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _steps(self) -> int:
        """Length of the schedule; a cycle of fewer than five steps would have no rise to divide by."""
        return max(5, int(self.trainer.estimated_stepping_batches))


class ClassifierTask(Task):
    """Slices with tumour against slices without, judged by the area under the ROC curve."""

    monitor = "val/auc"
    served_name = CLASSIFIER
    network: TumorClassifier

    def __init__(self, options: TaskOptions, patients: tuple[str, ...] = ()) -> None:
        super().__init__(options)
        self.network = TumorClassifier(options.network.depth, options.network.resnet_weights)
        self.start_from_shipped()
        self.auc = BinaryAUROC()

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """All of the ResNet."""
        yield from self.network.backbone.parameters()

    def learner(self) -> Callable[[Tensor], Tensor]:
        """The logits of the cells."""
        return self.network.cells

    def loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Binary cross-entropy of slices and of their cells, against what augmentation leaves of the tumour."""
        return cells_cross_entropy(logits, masks)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect probabilities of whole slices."""
        logits = self(to_unit_range(batch["images"])).float()
        positive = batch["masks"].flatten(1).any(1)
        self.auc.update(torch.sigmoid(logits), positive.int())
        loss = F.binary_cross_entropy_with_logits(logits, positive.float())
        self.log("val/loss", loss, batch_size=len(logits), sync_dist=True)
        self.log(self.monitor, self.auc, prog_bar=True)


class SegmenterTask(Task):
    """Pixels of tumour, judged by the mean volume Dice of the validation patients, without a gate."""

    monitor = "val/dice"
    served_name = SEGMENTER
    network: TumorSegmenter
    dice: PatientDice

    def __init__(self, options: TaskOptions, patients: tuple[str, ...] = ()) -> None:
        super().__init__(options)
        self.network = TumorSegmenter(options.network.depth, options.network.resnet_weights, options.network.width)
        self.start_from_shipped()
        self.dice = PatientDice(patients)

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The contracting path and the bottleneck."""
        parts = (self.network.stem, self.network.contract, self.network.bottleneck)
        return (parameter for part in parts for parameter in part.parameters())

    def loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Dice plus cross-entropy."""
        return dice_cross_entropy(logits, masks, slice_share=self.options.slice_dice)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect masks of whole patients."""
        logits = self(to_unit_range(batch["images"]))
        self.dice.update(logits[:, 0] >= 0, batch["masks"], batch["patients"])
        self.log(self.monitor, self.dice, prog_bar=True, batch_size=len(logits))


TASKS: dict[str, type[ClassifierTask] | type[SegmenterTask]] = {
    "classifier": ClassifierTask,
    "segmenter": SegmenterTask,
}
