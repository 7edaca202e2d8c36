import torch
from torch import Tensor

from services.renderer.liveportrait.retargeting import closing_delta, eye_delta


def test_one_portrait_serves_many_driving_ratios() -> None:
    def network(feature: Tensor) -> Tensor:
        return feature[:, :1].expand(-1, 63) + feature[:, -1:]

    driving = torch.tensor([[0.1], [0.2]])
    delta = eye_delta(network, torch.ones(1, 21, 3), torch.tensor([[0.3, 0.4]]), driving)
    assert delta.shape == (2, 21, 3)
    torch.testing.assert_close(delta[:, 0, 0], torch.tensor([1.1, 1.2]))


def test_lips_are_closed_only_where_they_are_open() -> None:
    ratios = torch.tensor([[0.029], [0.03], [0.5]])
    seen: list[Tensor] = []

    def network(feature: Tensor) -> Tensor:
        seen.append(feature)
        return torch.ones(len(feature), 63)

    delta = closing_delta(network, torch.zeros(3, 21, 3), ratios, threshold=0.03)
    assert delta.amax(dim=(1, 2)).tolist() == [0.0, 1.0, 1.0]
    assert torch.equal(seen[0][:, 63:], torch.cat([ratios, torch.zeros(3, 1)], dim=1))
