"""The classifier: does this slice show a tumour?"""

from __future__ import annotations

from torch import Tensor, nn

from tumor_training.networks.normalise import Normalise
from tumor_training.networks.weights import RANDOM, build_resnet


class TumorClassifier(nn.Module):
    """A torchvision ResNet with one output.

    Args:
        depth: 18, 34, 50, 101 or 152 layers.
        weights: see `build_resnet`.
        dropout: probability of dropping a feature before the last layer.
    """

    def __init__(self, depth: int = 18, weights: str = RANDOM, dropout: float = 0.2) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.backbone = build_resnet(depth, weights)
        features = self.backbone.fc.in_features
        self.backbone.fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of tumour, shape (batch,), for images in [0, 1], shape (batch, 3, row, column)."""
        logits: Tensor = self.backbone(self.normalise(images))
        return logits.squeeze(1)
