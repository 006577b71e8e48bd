#!/usr/bin/env bash
# Reads the flags, exports the variables and calls docker-compose with the files that WebODM's own webodm.sh chooses.
set -eo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source .env

action=
detached=
while [ $# -gt 0 ]; do
    case $1 in
        --port) export WO_PORT=$2; shift ;;
        --hostname) export WO_HOST=$2; shift ;;
        --media-dir) WO_MEDIA_DIR=$(realpath "$2"); export WO_MEDIA_DIR; shift ;;
        --db-dir) WO_DB_DIR=$(realpath "$2"); export WO_DB_DIR; shift ;;
        --ssl) export WO_SSL=YES ;;
        --ssl-key) WO_SSL_KEY=$(realpath "$2"); export WO_SSL_KEY; shift ;;
        --ssl-cert) WO_SSL_CERT=$(realpath "$2"); export WO_SSL_CERT; shift ;;
        --ssl-insecure-port-redirect) export WO_SSL_INSECURE_PORT_REDIRECT=$2; shift ;;
        --default-nodes) export WO_DEFAULT_NODES=$2; shift ;;
        --settings) WO_SETTINGS=$(realpath "$2"); export WO_SETTINGS; shift ;;
        --detached) detached=-d ;;
        *) action=${action:-$1} ;;
    esac
    shift
done

compose="docker-compose"
hash docker-compose 2>/dev/null || compose="docker compose"

run() {
    echo "$1"
    eval "$1"
}

down() {
    run "$compose -f docker-compose.yml -f docker-compose.nodeodm.yml -f docker-compose.nodemicmac.yml down --remove-orphans"
}

start() {
    [ -e .secret_key ] || head -c50 /dev/urandom | base64 | tr -d '\n' >.secret_key
    WO_SECRET_KEY=$(cat .secret_key)
    export WO_SECRET_KEY
    command="$compose -f docker-compose.yml"
    [ "$WO_DEFAULT_NODES" = 0 ] || command+=" -f docker-compose.nodeodm.yml"
    if [ "$WO_SSL" = YES ]; then
        command+=" -f docker-compose.ssl.yml -f docker-compose.ssl-manual.yml"
    fi
    [ -z "$WO_SETTINGS" ] || command+=" -f docker-compose.settings.yml"
    run "$command up $detached"
}

case $action in
    start) start ;;
    stop) run "$compose -f docker-compose.yml -f docker-compose.nodeodm.yml -f docker-compose.nodemicmac.yml stop" ;;
    restart)
        down
        start
        ;;
    down) down ;;
    update)
        down
        run "$compose -f docker-compose.yml -f docker-compose.nodeodm.yml pull"
        ;;
    *)
        echo "Usage: $0 start|stop|restart|down|update"
        ;;
esac
