"""An LSTM over keypoints: 16 frames of 17 joints, 1x16x34 in, the joints of the last frame in space, 1x17x3, out.

Hossain, Little: Exploiting temporal information for 3D human pose estimation, arXiv:1711.08585, without the decoder's
sequence: two layers of LSTM, their last state to coordinates. The weights are random but fixed.
"""

from torch import Tensor, nn

from tvmpose.nets.random_weights import seeded

FRAMES = 16
JOINTS = 17
HIDDEN = 128
LAYERS = 2
INPUT_SHAPE = (1, FRAMES, JOINTS * 2)
SEED = 1711_08585


class Lifter(nn.Module):
    """Keypoints N x frames x 34, x and y of each joint, to N x 17 x 3."""

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(JOINTS * 2, hidden), nn.ReLU())
        self.memory = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.leave = nn.Linear(hidden, JOINTS * 3)

    def forward(self, keypoints: Tensor) -> Tensor:
        states, _ = self.memory(self.enter(keypoints))
        return self.leave(states[:, -1]).reshape(-1, JOINTS, 3)


def build(hidden: int = HIDDEN, layers: int = LAYERS) -> nn.Module:
    """The network in eval mode: the same weights on every call, the caller's random state untouched."""
    with seeded(SEED):
        net = Lifter(hidden, layers)
        for name, weight in net.named_parameters():
            if "weight" in name:  # large enough that what came first is still seen in the end
                nn.init.normal_(weight, std=1.5 * weight.shape[1] ** -0.5)
        return net.eval()
