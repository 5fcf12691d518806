#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# docs/defects.md does not rot: each row names tests, each test's suite is in the
# list at the end with the target that has it, and the source of that target has
# the test.
#
# The backquotes are Markdown's:
# shellcheck disable=SC2016
set -u

doc=docs/defects.md
failures=0
fail() {
  echo "$doc: $*"
  failures=$((failures + 1))
}

# "| `Suite` | `//package:test` |"
declare -A source_of
while read -r suite label; do
  path=${label#//}
  source_of[$suite]=${path/://}.cc
done < <(sed -n 's/^| `\([A-Za-z]*\)` | `\(\/\/[^`]*\)` |$/\1 \2/p' "$doc")

tests=0
while read -r row; do
  number=${row%% *}
  named=$(grep -o '`[A-Z][A-Za-z]*\.[A-Za-z0-9]*`' <<<"$row" | tr -d '`')
  [[ -n $named ]] || fail "row $number names no test"
  for test in $named; do
    tests=$((tests + 1))
    suite=${test%%.*}
    source=${source_of[$suite]-}
    if [[ -z $source ]]; then
      fail "row $number: no target is given for suite $suite"
    elif [[ ! -f $source ]]; then
      fail "$source is no data of this test: add it to docs/BUILD.bazel"
    elif ! tr -s '\n ' ' ' <"$source" |
      grep -Eq "TEST(_F|_P)?\( ?$suite, ${test#*.}\)"; then
      fail "row $number: $source has no $test"
    fi
  done
done < <(sed -n 's/^| \([0-9][0-9]* | .*\)$/\1/p' "$doc")

rows=$(grep -c '^| [0-9]' "$doc")
[[ $rows -ge 50 && $tests -ge $rows ]] ||
  fail "read $rows rows and $tests tests: the table's form has changed"
echo "$rows defects, $tests tests named, $failures problems"
exit $((failures != 0))
