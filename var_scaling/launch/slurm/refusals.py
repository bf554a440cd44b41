"""SLURM's refusals in words that name the line of the profile they speak of."""

from __future__ import annotations

from var_scaling.launch.slurm.profile import Profile
from var_scaling.launch.slurm.resources import Resources
from var_scaling.launch.slurm.script import unread


def refusal(words: str, group: Resources, profile: Profile) -> str:
    """SLURM's own words, and which line of the profile they speak of."""
    text = words.replace("sbatch: error: ", "").replace("Batch job submission failed: ", "").strip()
    lower = text.lower()
    hints = {
        "invalid partition": f"partition = {profile.partition} is not one of this cluster's (`sinfo -s` lists them)",
        "invalid account": f"account = {profile.account} may not be used there (`sacctmgr show assoc user=$USER`)",
        "invalid qos": f"qos = {profile.qos} may not be used there (`sacctmgr show assoc user=$USER format=qos`)",
        "time limit": f"limits.hours = {profile.limits.hours} is above the partition's (`sinfo -o '%P %l'`)",
        "invalid generic resource": f"gpu.request = {profile.gpu and profile.gpu.request}, or no such GPUs there",
        "gres": "gpu: no node of the partition has such GPUs (`sinfo -o '%P %G'`)",
        "feature": f"constraint = {profile.constraint} names no feature of its nodes (`sinfo -o '%P %f'`)",
        "memory specification": f"memory_gb: {group} is more memory than any node of it has (`sinfo -o '%P %m'`)",
        "node configuration": "no node has as much; change gpu, cpus or memory_gb (`sinfo -o '%P %c %m %G'`)",
        "memory": f"memory_gb: {group} is more than the partition allows",
        "wckey": "add one that you may use: `sbatch: {wckey: ...}` (`sacctmgr show assoc user=$USER format=wckeys`)",
        "array": "limits.array is above the cluster's MaxArraySize - 1",
        "job violates accounting": "account, qos or partition does not allow that (`sacctmgr show assoc user=$USER`)",
    }
    hint = next((h for word, h in hints.items() if word in lower), "see `var-sweep doctor --profile ...`")
    return f"SLURM refused {group}: {' '.join(text.split())}; in the profile {profile.name}: {hint}{unread()}"
