#!/bin/bash
# As WebODM's worker.sh: a Celery worker in the foreground, or the scheduler in the background.
cd /webodm
case "$1 $2" in
    "start ") exec celery -A worker worker --autoscale "${WEB_CONCURRENCY:-4},2" --max-tasks-per-child 1000 --loglevel=warn >/dev/null ;;
    "scheduler start")
        if [[ -f ./celerybeat.pid ]]; then
            kill -9 "$(cat ./celerybeat.pid)" 2>/dev/null
            rm -f ./celerybeat.pid
        fi
        celery -A worker beat &
        ;;
esac
