#!/usr/bin/env bash
# The clients that people have, as their authors publish them, against a running server.
#
#   crates/server/tests/clients/run.sh target/debug/docent serve
#
# The arguments are the command that starts a server; `-m MODEL` and `--port PORT` are put behind them. The clients come from the package
# indexes into target/clients (or $DOCENT_CLIENTS), where a second run finds them. Needs Python 3 with venv, Node.js with npm, and curl.
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT...]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
clients=${DOCENT_CLIENTS:-$root/target/clients}

mkdir -p "$clients"
# What is installed is what the list of versions says, or is made anew.
if ! cmp -s "$here/requirements.txt" "$clients/requirements.txt"; then
    rm -rf "$clients/venv"
    python3 -m venv "$clients/venv"
    "$clients/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$clients/requirements.txt"
fi
if ! cmp -s "$here/package.json" "$clients/npm/installed.json"; then
    rm -rf "$clients/npm"
    mkdir -p "$clients/npm"
    cp "$here/package.json" "$clients/npm/package.json"
    (cd "$clients/npm" && npm install --silent --no-audit --no-fund --ignore-scripts)
    cp "$here/package.json" "$clients/npm/installed.json"
fi

# Documents for agents. What stands before `serve` is the command.
docent=()
for word in "$@"; do
    [ "$word" != serve ] || break
    docent+=("$word")
done
notes=$clients/notes
rm -rf "$notes"
mkdir -p "$notes/notes"
printf '# Cats\n\nThe cat sat on the mat.\n' >"$notes/notes/cat.md"
printf '# Tides\n\nThe moon pulls the water of the sea.\n' >"$notes/notes/tides.md"
documents=(--index "$notes/index.sqlite" -m "$root/fixtures/bert-tiny")
"${docent[@]}" collection add "${documents[@]}" "$notes/notes" >/dev/null

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
"$@" -m "$root/fixtures/bert-tiny" -m "$root/fixtures/encoders/modern-bert-rerank" --search --index "$notes/index.sqlite" \
    --port "$port" >"$clients/server.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 100); do
    kill -0 "$server" 2>/dev/null || { cat "$clients/server.log" >&2; echo 'the server has ended' >&2; exit 1; }
    curl --silent --fail --output /dev/null "$url/health" && break
    sleep 0.2
done
curl --silent --fail --output /dev/null "$url/health" || { cat "$clients/server.log" >&2; echo 'the server is not ready' >&2; exit 1; }

# curl, as people type it: no content type, so that it claims a form.
expect() { # STATUS PATTERN, then curl's arguments
    local status=$1 pattern=$2 answer
    shift 2
    answer=$(curl --silent --write-out '\n%{http_code}' "$@")
    if [ "${answer##*$'\n'}" != "$status" ] || ! grep -q -- "$pattern" <<<"$answer"; then
        printf 'curl %s\n  expected %s and %s, found %s\n' "$*" "$status" "$pattern" "$answer" >&2
        exit 1
    fi
}
expect 200 '"object":"list"' "$url/v1/embeddings" -d '{"input": "hello world"}'
expect 400 '"param":"input"' "$url/v1/embeddings" -d '{"input": 5}'
expect 404 '"model_not_found"' "$url/v1/embeddings" -d '{"input": "a", "model": "none"}'
expect 405 '"method_not_supported"' "$url/v1/embeddings"
expect 422 '"error_type":"validation"' "$url/embed" -d '{"inputs": 5}'
expect 200 '^te_request_count' "$url/metrics"
expect 200 '"openapi":"3' "$url/openapi.json"
expect 200 '"file":"qmd://notes/tides.md"' "$url/query" -d '{"searches": [{"type": "lex", "query": "moon"}]}'
expect 400 '"error":"nothing is asked' "$url/search" -d '{}'
expect 403 '"code":-32003' "$url/mcp" -H 'Origin: https://evil.example' -d '{}'
expect 200 '<title>Docent</title>' "$url/docs"
expect 200 'Docent is running' "$url/"
expect 200 '^HTTP/1.1 200' --head "$url/"
echo 'curl: passed'

"$clients/venv/bin/python" "$here/test_clients.py" "$url"
"$clients/venv/bin/python" "$here/test_mcp.py" "$url/mcp" "${docent[@]}" mcp "${documents[@]}"
cp "$here/openai.mjs" "$clients/npm/openai.mjs"
node "$clients/npm/openai.mjs" "$url"
