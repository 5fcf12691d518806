#!/bin/bash
# Runs a command with address space randomization off, where that is permitted
# (some containers forbid it), and as it is otherwise.
if setarch --addr-no-randomize true 2>/dev/null; then
  exec setarch --addr-no-randomize "$@"
fi
exec "$@"
