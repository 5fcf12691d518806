#!/bin/bash
# Turns a header of the kernel's include/uapi, on stdin, into the form that
# `make headers_install` gives it, on stdout: the kernel's own annotations and
# whatever depends on __KERNEL__ go, and words that -ansi lacks get underscores.
set -euo pipefail

sed -E \
  -e 's/([[:space:](])__user[[:space:]]/\1/g' \
  -e 's@^#include <linux/compiler(_types)?\.h>@@' \
  -e 's/(^|[[:space:](])(inline|asm|volatile)([[:space:](]|$)/\1__\2__\3/g' \
  -e 's@#(ifndef|define|endif[[:space:]]*/[*])[[:space:]]*_UAPI@#\1 @' |
  awk '
    # The open conditionals: truth[depth] is 1 or 0 for one that is decided here
    # (__KERNEL__ is not defined, __EXPORTED_HEADERS__ is), "" for any other.
    function hidden(    i) {
      for (i = 1; i <= depth; i++) if (truth[i] == "0") return 1
      return 0
    }
    /^#[ \t]*if/ {
      if (/^#[ \t]*(ifdef[ \t]+__KERNEL__|if[ \t]+defined\(__KERNEL__\))[ \t]*$/)
        truth[++depth] = "0"
      else if (/^#[ \t]*ifndef[ \t]+__KERNEL__[ \t]*$/)
        truth[++depth] = "1"
      else if (/^#[ \t]*ifndef[ \t]+__EXPORTED_HEADERS__[ \t]*$/)
        truth[++depth] = "0"
      else {
        if (!hidden()) print
        truth[++depth] = ""
      }
      next
    }
    /^#[ \t]*else/ && truth[depth] != "" {
      truth[depth] = 1 - truth[depth]
      next
    }
    /^#[ \t]*endif/ {
      decided = truth[depth--] != ""
      if (!decided && !hidden()) print
      next
    }
    !hidden()'
