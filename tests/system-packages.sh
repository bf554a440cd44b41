#!/bin/sh
# Debian packages that some tests need: a SLURM for one machine, a browser, a C compiler, the full Fashion-MNIST.
# Where they cannot be installed the tests that need them are skipped, each with a sentence.
missing=""
for pair in slurmctld:slurm-wlm slurmd:slurm-wlm slurmdbd:slurmdbd munged:munge mariadbd:mariadb-server chromium:chromium chromedriver:chromium-driver gcc:gcc nm:binutils; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -d /usr/share/datasets/fashion-mnist ] || missing="$missing dataset-fashion-mnist"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed, so tests that need them are skipped:$missing"
    exit 0
fi
echo "installing$missing"
policy=/usr/sbin/policy-rc.d # keep the packages' own daemons from starting
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -qq -y --no-install-recommends $missing >/dev/null || echo "could not install$missing"
exit 0
