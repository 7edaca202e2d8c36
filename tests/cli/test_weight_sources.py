"""What `talkinghead weights` says of a bundle whose files it does not fetch."""

from pathlib import Path

import pytest

from gateway.cli.weight_sources import source_of
from gateway.cli.weights import listing
from shared.errors import ConfigurationError


def test_a_bundle_converted_by_hand_names_its_converter() -> None:
    with pytest.raises(ConfigurationError, match=r"python -m services\.motion_dit\.joyvasa\.convert"):
        source_of("joyvasa")


def test_the_list_tells_whether_it_was_converted(tmp_path: Path) -> None:
    def line() -> str:
        return next(line for line in listing(str(tmp_path)) if line.startswith("joyvasa"))

    assert "not converted" in line()
    (tmp_path / "joyvasa").mkdir()
    assert "converted by hand" in line()
    assert "MIT" in line()
