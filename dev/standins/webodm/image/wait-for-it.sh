#!/bin/bash
# wait-for-it.sh -t 0 HOST:PORT -- COMMAND …
address=$3
shift 4
until (echo >"/dev/tcp/${address%:*}/${address#*:}") 2>/dev/null; do
    sleep 1
done
exec "$@"
