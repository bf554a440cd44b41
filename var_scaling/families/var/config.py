"""What a VAR model is, and how it is sampled."""

from __future__ import annotations

from typing import Literal

from var_scaling.families.transformer.config import TokenModelConfig, TokenSampler


class VARConfig(TokenModelConfig):
    """A VAR transformer (Tian et al. 2024)."""

    family: Literal["var"] = "var"


class VARSampler(TokenSampler):
    """Guidance is t at the last scale, to which it rises linearly from 0 at the first (the published ramp)."""
