# shellcheck shell=sh
# For a shell on a node of cluster/on-premise.yaml: its packages first on the PATH, and the token that Ray asks for.
export PATH="$HOME/moda/.venv/bin:$PATH"
export RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0
