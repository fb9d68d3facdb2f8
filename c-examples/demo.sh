#!/bin/bash
# Shows an echo server at work: starts it on a port that the kernel picks, sends it some lines,
# and prints what comes back. `make run` calls it.
#
#     c-examples/demo.sh build/c-examples/echo_server [OPTION...]
set -u
server=${1:?usage: $0 SERVER [OPTION...]}
shift
lines=("hello" "two tasks meet in a runtime" "goodbye")
patience=60 # seconds for what should be there at once

fail() {
    echo "$1" >&2
    exit 1
}

# The server says where it listens before it serves.
exec {output}< <(exec "$server" --port 0 "$@")
pid=$!
trap 'kill "$pid" 2> /dev/null' EXIT
read -r -t "$patience" greeting <&"$output" || fail "$server: did not say where it listens"
port=${greeting#*127.0.0.1:}
port=${port%%[!0-9]*}
[ -n "$port" ] || fail "$server: no port in: $greeting"

echo "\$ $server --port 0 $*"
echo "$greeting"
exec {connection}<> "/dev/tcp/127.0.0.1/$port" || fail "cannot connect to port $port"
for line in "${lines[@]}"; do
    echo "  sent:      $line"
    echo "$line" >&"$connection"
    read -r -t "$patience" answer <&"$connection" || fail "no answer"
    echo "  came back: $answer"
    [ "$answer" = "$line" ] || fail "that is not what was sent"
done

echo
echo "Go on by yourself: start it with \`$server --port 7000\`, talk to it with \`nc 127.0.0.1 7000\`."
