#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Opens the pages of the demo, the regression and a VM in headless Chromium,
# light and dark, and lets their self-test use them: zoom, filter, the pictures,
# no text of a device that becomes markup, no error on the console, nothing
# wider than 1280 pixels.
#
#   bazel run //vmm/demo:html_check -- [--required] [--keep=FOLDER]
#       [--page=FILE | --picture=FILE]
#
# Without Chromium it says so and passes, with --required it fails. --keep writes
# the pages and pictures of them to a folder. With --page it looks at this page
# instead, such as that of a real run. --picture writes the picture of
# docs/report.md and does no more.
set -euo pipefail

required=0
keep=""
page=""
picture=""
for argument in "$@"; do
  case "${argument}" in
    --required) required=1 ;;
    --keep=*) keep="${argument#--keep=}" ;;
    --page=*) page="${argument#--page=}" ;;
    --picture=*) picture="${argument#--picture=}" required=1 ;;
    *)
      echo "html_check: '${argument}' is none of --required, --keep=FOLDER," \
        "--page=FILE and --picture=FILE." >&2
      exit 2
      ;;
  esac
done

readonly user_folder="${BUILD_WORKING_DIRECTORY:-${PWD}}"
[[ -z ${keep} || ${keep} == /* ]] || keep="${user_folder}/${keep}"
[[ -z ${page} || ${page} == /* ]] || page="${user_folder}/${page}"
[[ -z ${picture} || ${picture} == /* ]] || picture="${user_folder}/${picture}"

if ! browser="$(command -v chromium || command -v chromium-browser)"; then
  echo "SKIPPED: there is no Chromium on this machine. 'apt-get install chromium' has one."
  exit "${required}"
fi

work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT
readonly demo=(vmm/demo/passthrough_demo --output=html)
readonly regression=(vmm/regression/passthrough_regression --output=html)
readonly fixtures="${PWD}/testing/fixtures"
failures=0
pages=0

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# browse PAGE FLAG...: opens a page once.
browse() {
  local -r page="$1"
  shift
  rm -rf "${work}/profile"
  timeout 60 "${browser}" --headless --no-sandbox --disable-gpu --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync \
    --user-data-dir="${work}/profile" --window-size=1280,900 \
    --hide-scrollbars --virtual-time-budget=5000 --enable-logging=stderr \
    "$@" "file://${page}"
}

# The upper part of the page of the demo's own device, at three quarters. The
# timeline shows the phase "bring up" in steps, because times differ from run to
# run.
if [[ -n ${picture} ]]; then
  env -u BUILD_WORKING_DIRECTORY "${demo[@]}" > "${work}/report.html"
  cat >> "${work}/report.html" << 'SCRIPT'
<script>
document.getElementById('order').click();
[...document.querySelectorAll('#phases button')]
    .find((button) => button.textContent === 'bring up').click();
</script>
SCRIPT
  browse "${work}/report.html" --window-size=1280,1637 \
    --force-device-scale-factor=0.75 --screenshot="${picture}" \
    > /dev/null 2> "${work}/log" || { cat "${work}/log" && exit 1; }
  echo "html_check: wrote ${picture}"
  exit
fi

# check NAME PROGRAM ARGUMENT...: makes a page and looks at it in both schemes.
check() {
  local -r name="$1"
  local scheme dark grounds=()
  shift
  if ! env -u BUILD_WORKING_DIRECTORY "$@" > "${work}/${name}.html" \
    2> "${work}/log"; then
    fail "${name}: $1"
    tail -n 20 "${work}/log"
    return
  fi
  pages=$((pages + 1))
  for scheme in light dark; do
    dark=()
    [[ ${scheme} == light ]] || dark=(--force-dark-mode)
    if ! browse "${work}/${name}.html#selftest" --dump-dom "${dark[@]}" \
      > "${work}/dom" 2> "${work}/log"; then
      fail "${name}, ${scheme}: the browser"
      tail -n 20 "${work}/log"
      continue
    fi
    if grep -F 'CONSOLE' "${work}/log"; then
      fail "${name}, ${scheme}: the console has messages"
    fi
    sed -n '/<pre id="selftest">/,/<\/pre>/p' "${work}/dom" |
      sed 's/<[^>]*>//g' > "${work}/result"
    if grep '^FAILED' "${work}/result" || ! grep -q '^ok' "${work}/result"; then
      fail "${name}, ${scheme}: the self-test"
      cat "${work}/result"
    fi
    if ! grep -q "^scheme ${scheme}," "${work}/result"; then
      fail "${name}: the browser does not show it ${scheme}"
    fi
    grounds+=("$(grep '^scheme' "${work}/result" | sed 's/.*ground //')")
    echo "${name}, ${scheme}: $(grep -c '^ok' "${work}/result") things work"
    if [[ -n ${keep} ]]; then
      browse "${work}/${name}.html" "${dark[@]}" --window-size=1280,2600 \
        --screenshot="${keep}/${name}-${scheme}.png" > /dev/null 2>&1 ||
        fail "${name}, ${scheme}: the picture"
    fi
  done
  if [[ ${#grounds[@]} != 2 || ${grounds[0]} == "${grounds[1]}" ]]; then
    fail "${name}: light and dark have the same ground, ${grounds[*]}"
  fi
  [[ -z ${keep} ]] || cp "${work}/${name}.html" "${keep}/"
}

check_all() {
  local i many=() evil
  check nvme "${demo[@]}" --fixture="${fixtures}/nvme.textproto"
  check two "${demo[@]}" --fixture="${fixtures}/nvme.textproto" \
    --fixture="${fixtures}/igb.textproto"
  for ((i = 0; i < 20; i++)); do
    many+=("--fixture=${fixtures}/edu.textproto")
  done
  check many "${demo[@]}" "${many[@]}"
  check regression "${regression[@]}" --fixture="${fixtures}/igb.textproto"
  check vm vmm/linux_vm/vm_report_sample "${fixtures}/nvme.textproto" \
    "${fixtures}/edu.textproto"
  # The name of a file is a part of the report.
  evil="${work}/</script><img src=x onerror=alert(1)><script>.textproto"
  mkdir -p "$(dirname "${evil}")"
  cp "${fixtures}/edu.textproto" "${evil}"
  check evil "${demo[@]}" --fixture="${evil}"
}

[[ -z ${keep} ]] || mkdir -p "${keep}"
if [[ -n ${page} ]]; then
  check page cat "${page}"
else
  check_all
fi

if ((failures > 0)); then
  echo "${failures} failures"
  exit 1
fi
echo "COUNT: ${pages} pages seen in a browser, light and dark"
