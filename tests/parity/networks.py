"""Networks with synthetic weights, of any size."""

from torch import nn

from services.renderer.liveportrait.checkpoint import NAMES, Networks, empty_networks, expected_shapes
from services.renderer.liveportrait.config import NetworksConfig
from tests.parity.fill import synthetic_state_dict


def modules_by_name(networks: Networks) -> dict[str, nn.Module]:
    """The five networks under their official names."""
    return dict(zip(NAMES, (networks.F, networks.M, networks.W, networks.G, networks.S), strict=True))


def synthetic_networks(seed: int, config: NetworksConfig) -> Networks:
    """Networks with synthetic weights, ready to run."""
    networks = empty_networks(config)
    for name, module in modules_by_name(networks).items():
        module.load_state_dict(synthetic_state_dict(name, expected_shapes(module), seed), strict=True, assign=True)
        module.eval().requires_grad_(requires_grad=False)
    return networks
