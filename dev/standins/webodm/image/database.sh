#!/bin/bash
# The database container: PostgreSQL on the volume, open to the other containers as WebODM's is. The cluster is made at the first start.
set -e
data=/var/lib/postgresql/data
bin=$(echo /usr/lib/postgresql/*/bin)
mkdir -p "$data"
chown postgres "$data"
chmod 700 "$data"
as_postgres() { su postgres -s /bin/bash -c "$*"; }
if [ ! -e "$data/PG_VERSION" ]; then
    as_postgres "$bin/initdb -D $data -A trust -E UTF8 --locale=C.UTF-8 >/dev/null"
    echo "host all all 0.0.0.0/0 trust" >>"$data/pg_hba.conf"
    as_postgres "$bin/pg_ctl -D $data -w -o '-c listen_addresses=' start"
    as_postgres "createdb -h /var/run/postgresql webodm_dev"
    sleep 2 # as WebODM's image: a server on the socket only, which stops again
    as_postgres "$bin/pg_ctl -D $data -w stop"
fi
rm -f "$data/postmaster.pid"
exec su postgres -s /bin/bash -c "exec $bin/postgres -D $data -c listen_addresses='*' -c fsync=off"
