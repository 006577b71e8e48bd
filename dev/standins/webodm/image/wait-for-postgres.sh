#!/bin/bash
host=$1
shift
until psql -h "$host" -U postgres -c '\q' >/dev/null 2>&1; do
    sleep 1
done
exec "$@"
