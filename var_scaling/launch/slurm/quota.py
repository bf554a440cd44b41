"""What the cluster lets this user queue: MaxSubmitJobs of the association and of the QoS, and what is queued already.

Each element of an array counts. A cluster without accounting, or one that does not enforce limits, has none.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass

from var_scaling.launch.slurm.profile import Profile
from var_scaling.runs import slurm_task


@dataclass(frozen=True)
class Limit:
    """One limit on jobs in the queue, and who counts towards it."""

    name: str  # as a person finds it again: "MaxSubmitJobs of account small"
    jobs: int
    counted: tuple[str, ...]  # options of squeue that list what counts

    def room(self) -> int:
        """How many more jobs it allows now."""
        listed = slurm_task.run("squeue", "-h", "-r", "-o", "%i", *self.counted)
        return max(0, self.jobs - len(listed.stdout.split()))


def limits(profile: Profile, config: Mapping[str, str]) -> list[Limit]:
    """The limits that hold for jobs of a profile.

    Args:
        profile: its account, QoS and partition choose the association.
        config: of `scheduler.cluster_limits()`.
    """
    if not {"limits", "safe", "all"} & set(config.get("AccountingStorageEnforce", "").split(",")):
        return []
    user = getpass.getuser()
    account = profile.account or _ask("user", user, "defaultaccount")
    associations = [
        line.split("|")
        for line in _ask("assoc", user, "account,partition,defaultqos,maxsubmitjobs,grpsubmitjobs").splitlines()
    ]
    mine = [a for a in associations if len(a) == 5 and a[0] == account and a[1] in ("", profile.partition or "")]
    found = []
    for name, _, _, *numbers in mine:
        found += [
            Limit(f"MaxSubmitJobs of account {name}", int(n), ("-u", user, "-A", name))
            for n in numbers
            if n.isdecimal()
        ]
    qos = profile.qos or next((a[2] for a in mine if a[2]), "normal")
    for line in _ask("qos", qos, "maxsubmitjobsperuser,grpsubmitjobs").splitlines():
        of_user, of_all = (line.split("|") + ["", ""])[:2]
        for text, counted in ((of_user, ("-u", user, "-q", qos)), (of_all, ("-q", qos))):
            if text.isdecimal():
                found.append(Limit(f"MaxSubmitJobs of QoS {qos}", int(text), counted))
    return found


def _ask(what: str, name: str, fields: str) -> str:
    key = {"assoc": "user", "user": "name", "qos": "name"}[what]
    done = slurm_task.run("sacctmgr", "-n", "-P", "show", what, "where", f"{key}={name}", f"format={fields}")
    return done.stdout.strip() if done.returncode == 0 else ""
