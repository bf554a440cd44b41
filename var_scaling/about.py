"""What this software is called, its version, and how it is cited."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

NAME = "var-scaling"
TITLE = "var-scaling: scaling-law studies of visual autoregressive image models"
PAPER = """@inproceedings{tian2024var,
  title     = {Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction},
  author    = {Tian, Keyu and Jiang, Yi and Yuan, Zehuan and Peng, Bingyue and Wang, Liwei},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024}
}"""


def version_of(package: str = NAME) -> str:
    """The version that is installed here; empty where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def citation() -> str:
    """This software and the paper that it follows, as BibTeX; CITATION.cff says the same to reference managers."""
    own = (
        "@software{var_scaling,\n"
        f"  title   = {{{TITLE}}},\n"
        "  author  = {{The var-scaling authors}},\n"
        f"  version = {{{version_of()}}},\n"
        "  year    = {2026},\n"
        "  license = {MIT}\n}"
    )
    return f"{own}\n\n{PAPER}"
