# Completion of cleat(1) for Bash; source it, or install it as
# /usr/share/bash-completion/completions/cleat.

_cleat_ids() {
    local socket=("$@")
    cleat "${socket[@]}" --json ps 2>/dev/null |
        grep -o '"session_id": *"[0-9a-f-]*"' | grep -o '[0-9a-f-]\{36\}'
}

_cleat_jobs() {
    local socket=("$@")
    cleat "${socket[@]}" --json job list 2>/dev/null |
        grep -o '"job_id": *"[0-9a-f-]*"' | grep -o '[0-9a-f-]\{36\}'
}

# Words of a command of "cleat job".
_cleat_job_words() {
    local command=$1 request=$2
    shift 2
    case $command in
    "") echo "submit list show logs wait cancel timeline --help" ;;
    submit) echo "$request --name --code --stdin-file --timeout --wait --follow --json --" ;;
    list) echo "--state --tenant --json" ;;
    show) echo "--json $(_cleat_jobs "$@")" ;;
    logs) echo "-f --follow --after --stdout --stderr --json $(_cleat_jobs "$@")" ;;
    wait) echo "--timeout --json $(_cleat_jobs "$@")" ;;
    cancel) echo "--json $(_cleat_jobs "$@")" ;;
    timeline) echo "--svg --json $(_cleat_jobs "$@")" ;;
    esac
}

_cleat() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command="" sub="" i word
    local -a socket=()
    local commands="create exec ps show wait kill drain reap status isolation timeline events job"
    local request="--class --request-id --tenant --user --thread --run --parent --env --cpu-milli --memory-mb
        --gpu --label --no-queue"
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --socket)
            i=$((i + 1))
            socket=(--socket "${COMP_WORDS[i]}")
            ;;
        -*) ;;
        *)
            [ -n "$command" ] && sub=$word && break
            command=$word
            [ "$command" = job ] || break
            ;;
        esac
    done
    COMPREPLY=()
    case $prev in
    --socket | --svg | --stdin-file)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --class | --request-id | --tenant | --user | --thread | --run | --parent | --env | --cpu-milli | \
        --memory-mb | --gpu | --label | --input | --count | --timeout | --name | --code | --after)
        return
        ;;
    --state)
        mapfile -t COMPREPLY < <(compgen -W "queued starting running succeeded failed timed_out cancelled lost" \
            -- "$cur")
        return
        ;;
    esac
    local words
    case $command in
    "") words="$commands --socket --json --version --help" ;;
    create) words="$request --input --count --timeout --wait --json" ;;
    exec) words="--timeout --bash --json $(_cleat_ids "${socket[@]}")" ;;
    ps) words="--all --tenant --json" ;;
    show) words="--json $(_cleat_ids "${socket[@]}")" ;;
    wait) words="--closed --timeout --json $(_cleat_ids "${socket[@]}")" ;;
    kill) words="--all --wait --timeout --json $(_cleat_ids "${socket[@]}")" ;;
    reap) words="--dry-run --adopt --json" ;;
    drain) words="--now --tenant --no-wait --timeout --end --json" ;;
    job) words=$(_cleat_job_words "$sub" "$request" "${socket[@]}") ;;
    events) words="--follow --after --tenant --json $(_cleat_ids "${socket[@]}")" ;;
    timeline) words="--svg --json $(_cleat_ids "${socket[@]}")" ;;
    *) words="--json" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _cleat cleat
