#!/usr/bin/env bash
# The one command: OpenScan Cloud and Tapis storage for WebODM. `./webodm.sh --help` lists what it does.
set -euo pipefail

CDPATH= # a caller's would make `cd` go elsewhere, and print
SELF=${BASH_SOURCE[0]}
while [ -L "$SELF" ]; do # called through a link in ~/bin, say
    LINKED=$(readlink "$SELF")
    case $LINKED in
        /*) SELF=$LINKED ;;
        *) SELF=$(dirname "$SELF")/$LINKED ;;
    esac
done
ROOT=$(cd "$(dirname "$SELF")" && pwd -P)
VENVS="$ROOT/.venv"
CALLED_FROM=$PWD

# A proxy must not stand between us and our own servers on this machine
for variable in no_proxy NO_PROXY; do
    case ",${!variable:-}," in
        *,127.0.0.1,*) ;;
        *) export "$variable=${!variable:+${!variable},}localhost,127.0.0.1,::1" ;;
    esac
done

usage() {
    cat <<'EOF'
Usage: ./webodm.sh COMMAND [ARGUMENTS]

Try it (no Docker, no root, nothing but git, bash and a Python 3.9):
  demo [scan]           photos of an object -> OpenScan API -> 3D model, on this machine
  demo tapis            a drone flight on a stand-in Tapis -> WebODM project -> maps
  sandbox start [--port 8000] [--data DIR] [--tapis] [--detach]
  sandbox stop|status|logs [--data DIR]

Work with a WebODM:
  manage COMMAND …      a management command (openscan_token, openscan_check, discover_tapis_flights, …)
                        in --webodm DIR, in the --sandbox, in the running Docker container, or in the sandbox
  install --webodm DIR [--python PY] [--dry-run]     add both plugins to a native WebODM
  uninstall --webodm DIR [--purge]                   remove them again
  doctor [--webodm DIR]                              what is wrong, and how to fix it
  package               the two plugin zips for WebODM's plugin page
  start|stop|restart|down|update|rollback|logs|config …   WebODM in Docker with both plugins (takes WebODM's own flags)
  uninstall [--purge]                                from a WebODM in Docker
  backup [--webodm DIR] [FILE]                       our tables, from the running containers or a native WebODM
  backup --all DIR [--media], restore DIR            a whole WebODM in Docker
  unit                                               a systemd unit that starts it at boot
  node start [--port 3000] [--data DIR] [--token T]  a processing node for any WebODM (node/README.md)

Develop:
  test [--long] [--docker] [PYTEST ARGUMENTS]        --docker: the Docker side on a Docker engine of its own (needs root)
  bench [openscan|tapis|engine|uploader]
  docs [--settings]     build the documentation as a site in dist/docs; --settings: write the tables of settings from the code
  lint                  ruff, the import contracts, code that nobody uses, types (mypy), and a syntax check of the bash scripts
EOF
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# ---------------------------------------------------------------------------------------------------------------------
# Python 3.9: WebODM's version. A name on the PATH may be a pyenv shim that finds nothing, so each candidate is run.

is_python39() {
    [ "$("$1" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "3.9" ]
}

find_python39() {
    local candidate root
    for candidate in "${WEBODM_PYTHON:-}" python3.9 python3 python; do
        if [ -n "$candidate" ] && candidate=$(command -v "$candidate") && is_python39 "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    local roots=("${PYENV_ROOT:-}" "${HOME:-/nonexistent}/.pyenv")
    # pyenv takes its root from HOME, which need not be the one it was installed in: its own files stand in the root
    for candidate in pyenv python3.9 python3; do
        if candidate=$(command -v "$candidate"); then
            roots+=("$(dirname "$(dirname "$candidate")")")
        fi
    done
    for root in "${roots[@]}"; do
        [ -n "$root" ] || continue
        for candidate in "$root"/versions/3.9*/bin/python3.9; do
            if [ -x "$candidate" ] && is_python39 "$candidate"; then
                echo "$candidate"
                return
            fi
        done
    done
    if command -v uv >/dev/null; then
        if ! candidate=$(uv python find 3.9 2>/dev/null) || ! is_python39 "$candidate"; then
            echo "No Python 3.9 found; uv downloads one …" >&2
            uv python install 3.9 >&2 || true # what uv could not do is said below, with the other ways
        fi
        if candidate=$(uv python find 3.9 2>/dev/null) && is_python39 "$candidate"; then
            echo "$candidate"
            return
        fi
    fi
    fail "no Python 3.9 found (with venv and ensurepip). WebODM needs 3.9, and so do the tools here. Install one:
  uv python install 3.9      (https://docs.astral.sh/uv/)
  pyenv install 3.9          (https://github.com/pyenv/pyenv)
or set WEBODM_PYTHON=/path/to/python3.9"
}

# need_platform VENV: our virtual environments are tried on Linux x86-64; some of their packages have no wheels elsewhere.
need_platform() {
    local system machine
    system=$(uname -s)
    machine=$(uname -m)
    case "$1 $system $machine" in
        *" Linux x86_64") ;;
        "host Linux aarch64")
            local tool
            for tool in postgres initdb redis-server; do
                PATH="$PATH:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')" command -v "$tool" >/dev/null \
                    || fail "on Linux aarch64 the sandbox uses PostgreSQL and Redis from the PATH, and '$tool' was not found.
Debian and Ubuntu: sudo apt-get install postgresql redis-server"
            done
            ;;
        "engine Linux aarch64") ;;
        *)
            fail "this runs on Linux x86-64 (and, without the tests, on Linux aarch64); this machine is $system $machine.
With a WebODM in Docker you do not need this: ./webodm.sh start needs only Docker, git and a Python 3.9 or later."
            ;;
    esac
}

# ---------------------------------------------------------------------------------------------------------------------
# Virtual environments, made once and again only when their requirements change.

# requirements_key FILE...: what a venv was made of.
requirements_key() {
    (cd "$ROOT" && cat "$@" | cksum)
}

# with_lock NAME COMMAND...: two calls at once must not write one venv. The kernel lets go of the lock when its holder ends, however it ends.
with_lock() {
    local name=$1 status=0
    shift
    mkdir -p "$VENVS"
    exec 9>"$VENVS/.$name.lock"
    if ! flock --nonblock 9; then
        printf 'Another webodm.sh is setting up .venv/%s; waiting for it …\n' "$name" >&2
        flock 9
    fi
    "$@" || status=$?
    exec 9>&-
    return "$status"
}

run_pip() {
    local venv=$1 log="$VENVS/pip-$1.log"
    shift
    if ! "$VENVS/$venv/bin/python" -m pip --disable-pip-version-check --no-input install --quiet "$@" >>"$log" 2>&1; then
        tail -n 30 "$log" >&2
        fail "pip could not install into .venv/$venv (the whole log: $log).
If pip could not reach PyPI, run the command again when the network works."
    fi
}

make_venv() {
    local name=$1 key=$2 python
    if [ -f "$VENVS/$name/.made-of" ] && [ "$(cat "$VENVS/$name/.made-of")" = "$key" ] \
        && is_python39 "$VENVS/$name/bin/python"; then
        return
    fi
    rm -f "$VENVS/$name/.made-of" "$VENVS/pip-$name.log"
    if is_python39 "$VENVS/$name/bin/python"; then
        printf 'Updating .venv/%s to changed requirements …\n' "$name" >&2
    else
        python=$(find_python39) || exit 1
        printf 'Setting up .venv/%s with %s …\n' "$name" "$python" >&2
        "$python" -m venv --clear "$VENVS/$name" || fail "$python could not make a virtual environment in $VENVS/$name"
    fi
    # Celery 4.4.0's metadata are refused by pip from 24.1 on
    run_pip "$name" "pip==24.0" "setuptools==57.5.0" "wheel==0.44.0"
    "install_$name"
    echo "$key" >"$VENVS/$name/.made-of"
}

install_host() {
    local dev="$ROOT/dev/requirements" deploy="$ROOT/deploy/requirements"
    run_pip host -c "$dev/webodm.txt" -r "$dev/host.txt" -r "$deploy/ours.txt"
    run_pip host --no-deps -r "$deploy/ours-nodeps.txt"
    run_pip host -c "$dev/webodm.txt" -r "$dev/sandbox.txt" -r "$dev/dev.txt"
}

install_engine() {
    run_pip engine -r "$ROOT/node/requirements/engine.txt" -r "$ROOT/node/requirements/server.txt"
}

install_clients() {
    run_pip clients -r "$ROOT/dev/requirements/clients.txt"
}

ensure_host() {
    need_platform host
    with_lock host make_venv host "$(requirements_key dev/requirements/{webodm,host,sandbox,dev}.txt deploy/requirements/ours{,-nodeps}.txt)"
}

ensure_engine() {
    need_platform engine
    with_lock engine make_venv engine "$(requirements_key node/requirements/{engine,server}.txt)"
}

ensure_clients() {
    need_platform clients
    with_lock clients make_venv clients "$(requirements_key dev/requirements/clients.txt)"
}

host_python() {
    # settings of the caller's WebODM must not reach ours; PYTHONPATH is the repository alone
    (cd "$ROOT" && PYTHONPATH="$ROOT" exec "$VENVS/host/bin/python" "$@")
}

# absolute PATH: a path as the caller meant it, seen from where the command was called.
absolute() {
    case $1 in
        /*) echo "$1" ;;
        *) echo "$CALLED_FROM/$1" ;;
    esac
}

# ---------------------------------------------------------------------------------------------------------------------

command_sandbox() {
    [ $# -gt 0 ] || fail "sandbox needs one of: start, stop, status, logs (see ./webodm.sh --help)"
    ensure_host
    if [ "$1" = start ]; then
        ensure_engine
    fi
    local arguments=() after_data=0 argument
    for argument in "$@"; do
        if [ $after_data = 1 ]; then
            argument=$(absolute "$argument")
            after_data=0
        elif [ "$argument" = --data ]; then
            after_data=1
        elif [ "${argument#--data=}" != "$argument" ]; then
            argument="--data=$(absolute "${argument#--data=}")"
        fi
        arguments+=("$argument")
    done
    host_python -m dev.sandbox "${arguments[@]}"
}

command_demo() {
    local what=${1:-scan}
    [ $# -eq 0 ] || shift
    case $what in
        scan | tapis) ;;
        *) fail "demo knows 'scan' (the default) and 'tapis', not '$what'" ;;
    esac
    ensure_host
    ensure_engine
    case $what in
        scan)
            host_python -m dev.sandbox start --detach
            host_python -m dev.demo scan "$@"
            ;;
        tapis)
            host_python -m dev.sandbox start --detach --tapis
            host_python -m dev.demo flight "$@"
            ;;
    esac
}

command_test() {
    ensure_host
    ensure_engine
    ensure_clients
    # The whole suite runs in two processes per core, because tests mostly wait. Each has its own servers and takes whole files.
    # Chosen tests run in one process.
    local argument docker=0 chosen=0 whole=(-n "$((2 * $(nproc)))" --dist loadfile)
    for argument in "$@"; do
        case $argument in
            --last-failed | --lf) whole=() ;;
            --docker) docker=1 ;;
            -*) ;;
            *)
                whole=()
                chosen=1
                ;;
        esac
    done
    if [ $docker = 1 ] && [ $chosen = 0 ]; then
        whole=(-s tests/docker)
    fi
    host_python -m pytest ${whole[@]+"${whole[@]}"} "$@"
}

command_bench() {
    local topic=${1:-openscan}
    [ $# -eq 0 ] || shift
    [ -f "$ROOT/dev/benchmarks/$topic.py" ] || fail "there is no benchmark '$topic'. Choose one of: $(cd "$ROOT/dev/benchmarks" && ls ./*.py | sed 's/.py$//; s,^./,,' | grep -v '^_' | tr '\n' ' ')"
    ensure_host
    ensure_engine
    host_python -m "dev.benchmarks.$topic" "$@"
}

command_docs() {
    if [ "${1:-}" = --settings ]; then
        ensure_host
        (cd "$ROOT" && PYTHONPATH="$ROOT:$ROOT/dev/sandbox/host" DJANGO_SETTINGS_MODULE=webodm.settings exec "$VENVS/host/bin/python" -m dev.docs)
        return
    fi
    ensure_clients
    "$VENVS/clients/bin/mkdocs" build --strict --quiet --config-file "$ROOT/dev/mkdocs.yml" --site-dir "$ROOT/dist/docs" "$@"
    echo "Open $ROOT/dist/docs/index.html"
}

command_lint() {
    ensure_host
    (cd "$ROOT" && "$VENVS/host/bin/ruff" check . "$@")
    (cd "$ROOT" && PYTHONPATH="$ROOT" "$VENVS/host/bin/lint-imports" --no-cache)
    (cd "$ROOT" && PYTHONPATH="$ROOT:$ROOT/uploader/src" "$VENVS/host/bin/lint-imports" --no-cache --config uploader/pyproject.toml)
    local unused # fields of tables and options of admin pages are read by Django alone: only what can be called counts
    unused=$(cd "$ROOT" && "$VENVS/host/bin/vulture" | grep -E 'unused (function|method|class|property|import)') || true
    [ -z "$unused" ] || fail "nobody uses these; remove them, or name who does in dev/vulture_whitelist.py:
$unused"
    (cd "$ROOT" && "$VENVS/host/bin/mypy") # 20 s the first time, then only what changed
    local script
    for script in "$ROOT"/webodm.sh "$ROOT"/deploy/docker/bin/* "$ROOT"/deploy/docker/shim/* "$ROOT"/dev/standins/webodm/{checkout,image}/*.sh; do
        bash -n "$script"
    done
}

# docker_checkout: whether the caller means a WebODM in Docker: WEBODM_DIR names one, or one lies here.
docker_checkout() {
    local directory
    [ -z "${WEBODM_DIR:-}" ] || return 0
    for directory in "$CALLED_FROM" "$CALLED_FROM/WebODM" "$ROOT/WebODM"; do
        if [ -f "$directory/webodm.sh" ] && [ -f "$directory/docker-compose.yml" ]; then
            return 0
        fi
    done
    return 1
}

# docker_webapp: whether WebODM's container runs. The name is matched whole: another project's `my-webapp` is none of ours.
docker_webapp() {
    command -v docker >/dev/null \
        && [ -n "$(docker ps --quiet --filter 'name=^/?webapp$' --filter status=running 2>/dev/null)" ]
}

command_manage() {
    case ${1:-} in
        --webodm | --webodm=* | --python | --python=* | --env-file | --env-file=*)
            command_deploy manage "$@"
            return
            ;;
        --sandbox) shift ;;
        "") ;;
        *)
            # where a WebODM in Docker is meant, it answers or says why it cannot: the sandbox is another database
            if docker_checkout || docker_webapp; then
                command_deploy manage "$@"
                return
            fi
            [ -f "$ROOT/.sandbox/config.json" ] || fail "manage found no WebODM: no container 'webapp' that this user can see runs, and there is no sandbox.
  in Docker:  WEBODM_DIR=/path/to/WebODM ./webodm.sh manage …   (as root, or as a user in the group 'docker')
  native:     ./webodm.sh manage --webodm /path/to/WebODM …
  sandbox:    ./webodm.sh sandbox start --detach, then ./webodm.sh manage --sandbox …"
            ;;
    esac
    [ $# -gt 0 ] || fail "manage needs a command, e.g. ./webodm.sh manage openscan_token list"
    echo "manage: in the sandbox" >&2
    ensure_host
    host_python -m dev.sandbox manage "$@"
}

# command_node start [--port 3000] [--data DIR] [--token TOKEN] …: a processing node of its own, in the foreground.
command_node() {
    [ "${1:-}" = start ] || fail "node knows 'start' (see node/README.md), not '${1:-nothing}'"
    shift
    ensure_engine
    local arguments=() data="$ROOT/.node" next= argument
    for argument in "$@"; do
        case $next in
            data) data=$(absolute "$argument") ;;
            token) NODE_TOKEN=$argument ;;
            *)
                case $argument in
                    --data | --token) ;;
                    --data=*) data=$(absolute "${argument#--data=}") ;;
                    --token=*) NODE_TOKEN=${argument#--token=} ;;
                    *) arguments+=("$argument") ;;
                esac
                ;;
        esac
        next=
        case $argument in --data) next=data ;; --token) next=token ;; esac
    done
    [ -z "$next" ] || fail "--$next needs a value"
    local host=127.0.0.1
    if [ -n "${NODE_TOKEN:-}" ]; then
        export NODE_TOKEN # in the environment, which other users cannot read: a process list shows arguments
        host=0.0.0.0
    else
        echo "Without a token, the node accepts connections from this machine only. To open it to others, add --token TOKEN." >&2
    fi
    cd "$ROOT"
    PYTHONPATH="$ROOT" exec "$VENVS/engine/bin/python" -m node.server --data "$data" --host "$host" ${arguments[@]+"${arguments[@]}"}
}

# A server that only runs Docker has no Python 3.9 as a rule, and needs none: any from 3.9 on will do, without our packages.
deploy_python() {
    local candidate
    for candidate in "$VENVS/host/bin/python" python3 python3.13 python3.12 python3.11 python3.10 python3.9 python; do
        if candidate=$(command -v "$candidate") && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    find_python39
}

command_deploy() {
    local python
    python=$(deploy_python) || exit 1
    # no PYTHONPATH: what belongs to a WebODM must find us as an install put us there
    (cd "$CALLED_FROM" && exec "$python" "$ROOT/deploy" "$@")
}

main() {
    local command=${1:-}
    [ $# -eq 0 ] || shift
    case "$command ${1:-}" in
        # before anything is installed or downloaded for it; the others answer for themselves
        'node --help' | 'node -h' | 'demo --help' | 'demo -h' | 'sandbox --help' | 'sandbox -h' | 'manage --help' | 'manage -h' | 'test --help' | 'test -h' | \
            'bench --help' | 'bench -h' | 'lint --help' | 'lint -h')
            usage
            return
            ;;
    esac
    case $command in
        demo) command_demo "$@" ;;
        sandbox) command_sandbox "$@" ;;
        manage) command_manage "$@" ;;
        node) command_node "$@" ;;
        test) command_test "$@" ;;
        bench) command_bench "$@" ;;
        docs) command_docs "$@" ;;
        lint) command_lint "$@" ;;
        install | uninstall | doctor | package | start | stop | restart | down | update | rollback | logs | config | backup | restore | unit)
            command_deploy "$command" "$@"
            ;;
        -h | --help | help) usage ;;
        "")
            usage >&2
            exit 2
            ;;
        *)
            usage >&2
            fail "there is no command '$command'"
            ;;
    esac
}

# On one line: bash reads a script as it goes, and a `git pull` may have changed this one meanwhile
main "$@"; exit
