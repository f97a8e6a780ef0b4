#!/bin/sh
# The main job, small: search, look at the front, pull the best modules, use two of them. `make demo` runs it.
# BIN is the folder of the environment's commands, RESULTS the folder for what they write.
set -eu
export MODA_STORAGE="$RESULTS/storage"

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

if [ -f "$RESULTS/modules/manifest.json" ]; then rm -r "$RESULTS/modules"; fi # the set of an earlier demo
run "$BIN/moda" sweep experiment=digits sweep.name=demo
run "$BIN/moda" report demo --to "$RESULTS/report.html"
run "$BIN/moda" pull sweep:demo/best --to "$RESULTS/modules"
run "$BIN/python" docs/examples/two_classes.py "$RESULTS/modules" 3 8
