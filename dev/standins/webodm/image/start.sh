#!/bin/bash
# The steps of WebODM's start.sh, in its order: migrations, the default node, the scheduler, nginx from its template, gunicorn.
cd /webodm
echo "Running migrations"
python manage.py migrate
if [[ "$WO_DEFAULT_NODES" > 0 ]]; then
    python manage.py addnode node-odx-1 3000 --label node-odx-1
fi
export WO_HOST="${WO_HOST:=localhost}" WO_PORT="${WO_PORT:=8000}"
printenv >.cronenv
./worker.sh scheduler start
for template in nginx/*.template; do
    envsubst '\$WO_PORT \$WO_HOST' <"$template" >"${template%.*}"
done
conf=nginx.conf
[ ! -e nginx/ssl ] || conf=nginx-ssl.conf
export WEB_CONCURRENCY=${WEB_CONCURRENCY:-$((2 * $(nproc) + 1))}
nginx -c "$PWD/nginx/$conf"
gunicorn webodm.wsgi --bind unix:/tmp/gunicorn.sock --timeout 300000 --max-requests 5000 --workers "$WEB_CONCURRENCY" --preload
