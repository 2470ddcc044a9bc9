#!/usr/bin/env bash
# What the tests of deploy/ need besides Python packages, into the environment given: Helm, the definitions of custom
# resources, checkov (in an environment of its own, since its pins would clash), and promtool (taken out of Debian's
# package, which as a whole would start a server). What cannot be had is said, its tests are skipped, and the status is 1.
set -uo pipefail

environment=$(realpath "${1:?usage: install_tools.sh ENVIRONMENT}")
bin=$environment/bin
definitions=$environment/share/crds
python=$bin/python
[ -x "$python" ] || python=python3

status=0
missing() { status=1; echo "install_tools: $*; its tests will be skipped" >&2; }

quietly() {  # the output is shown where the command fails
  local log
  log=$(mktemp)
  "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; rm -f "$log"; return 1; }
  rm -f "$log"
}

if ! command -v go >/dev/null; then
  missing "Go is not installed, so neither Helm nor the custom resources can be had"
else
  if ! [ -x "$bin/helm" ]; then
    echo "install_tools: compiling Helm, once; this takes minutes" >&2
    GOBIN=$bin GOFLAGS=-buildvcs=false quietly go install helm.sh/helm/v4/cmd/helm@v4.2.0 || missing "Helm could not be compiled"
  fi
  for module in \
    github.com/prometheus-operator/prometheus-operator@v0.85.0:example/prometheus-operator-crd \
    github.com/kedacore/keda/v2@v2.18.0:config/crd/bases \
    sigs.k8s.io/gateway-api@v1.4.0:config/crd/standard; do
    name=${module%%@*}
    [ -d "$definitions/$name" ] && continue
    folder=$(cd / && go mod download -json "${module%:*}" 2>/dev/null | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    if [ -n "$folder" ] && [ -d "$folder/${module##*:}" ]; then
      mkdir -p "$definitions/$name"
      cp "$folder/${module##*:}"/*.yaml "$definitions/$name/"
      chmod -R u+w "$definitions/$name"
    else
      missing "the custom resources of ${module%:*} could not be fetched"
    fi
  done
fi

if ! [ -x "$bin/checkov" ]; then
  if quietly "$python" -m venv "$environment/checkov" &&
    quietly "$environment/checkov/bin/pip" --disable-pip-version-check install 'checkov==3.3.30'; then
    ln -sf "$environment/checkov/bin/checkov" "$bin/checkov"
  else
    missing "checkov could not be installed"
  fi
fi

take_promtool() {
  local folder
  folder=$(mktemp -d)
  (cd "$folder" && quietly apt-get download prometheus && dpkg-deb --extract prometheus_*.deb . && cp usr/bin/promtool "$bin/")
  local taken=$?
  rm -rf "$folder"
  return $taken
}

if ! [ -x "$bin/promtool" ] && ! command -v promtool >/dev/null; then
  if ! command -v apt-get >/dev/null; then
    missing "promtool is not installed, and without apt-get it cannot be fetched"
  else
    # A fresh machine has no package lists, and only root can fetch them.
    if [ "$(id -u)" = 0 ] && ! apt-cache show prometheus >/dev/null 2>&1; then quietly apt-get update; fi
    take_promtool || missing "promtool could not be fetched"
  fi
fi
exit $status
