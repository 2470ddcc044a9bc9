#!/bin/sh
# Debian packages that tests run: a DICOM verifier, DICOM tools, a PACS. Quick where they are there; where they cannot be
# installed, the tests that need them skip and say so.
set -eu

packages="dicom3tools dcmtk orthanc orthanc-dicomweb"

command -v dpkg-query >/dev/null || exit 0
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "some tests will skip, without:$missing (as root: apt-get install --no-install-recommends$missing)" >&2
    exit 0
fi

# Tests start their own PACS: the package's service is not to start.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null; }; then
    echo "some tests will skip: could not install$missing" >&2
fi
