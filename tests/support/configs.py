"""Small configs of each family, and the published sizes."""

from var_scaling.families.dit.config import DiTConfig
from var_scaling.families.var.config import VARConfig


def var_config(**changes):
    dims = dict(depth=2, head_dim=5, patch_nums=(1, 2, 3), vocab_size=11, latent_dim=7, num_classes=13)
    return VARConfig(**(dims | dict(gamma_init=1e-3, drop_path=0.0) | changes))


def published_var(depth, **changes):
    sides = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    dims = dict(depth=depth, head_dim=64, patch_nums=sides, vocab_size=4096, latent_dim=32, num_classes=1000)
    return var_config(**(dims | changes))


def dit_config(depth=2, head_dim=4, heads=3, patch_size=2, latent_size=8, channels=4, classes=7, learned=True):
    return DiTConfig(
        depth=depth,
        head_dim=head_dim,
        heads=heads,
        patch_size=patch_size,
        target="noise",
        learned_variance=learned,
        initial_values="unit",
        latent_channels=channels,
        latent_size=latent_size,
        num_classes=classes,
    )
