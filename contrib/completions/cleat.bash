# Completion of cleat(1) for Bash; source it, or install it as
# /usr/share/bash-completion/completions/cleat.

_cleat_ids() {
    local socket=("$@")
    cleat "${socket[@]}" --json ps 2>/dev/null |
        grep -o '"session_id": *"[0-9a-f-]*"' | grep -o '[0-9a-f-]\{36\}'
}

_cleat() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command="" i word
    local -a socket=()
    local commands="create exec ps show wait kill drain reap status isolation timeline"
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --socket)
            i=$((i + 1))
            socket=(--socket "${COMP_WORDS[i]}")
            ;;
        -*) ;;
        *)
            command=$word
            break
            ;;
        esac
    done
    COMPREPLY=()
    case $prev in
    --socket | --svg)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --class | --request-id | --tenant | --user | --env | --input | --count | --timeout)
        return
        ;;
    esac
    local words
    case $command in
    "") words="$commands --socket --json --version --help" ;;
    create) words="--class --request-id --tenant --user --env --input --count --timeout --wait --json" ;;
    exec) words="--timeout --bash --json $(_cleat_ids "${socket[@]}")" ;;
    ps) words="--all --json" ;;
    show) words="--json $(_cleat_ids "${socket[@]}")" ;;
    wait) words="--closed --timeout --json $(_cleat_ids "${socket[@]}")" ;;
    kill) words="--all --wait --timeout --json $(_cleat_ids "${socket[@]}")" ;;
    reap) words="--dry-run --adopt --json" ;;
    drain) words="--now --tenant --no-wait --timeout --end --json" ;;
    timeline) words="--svg --json $(_cleat_ids "${socket[@]}")" ;;
    *) words="--json" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _cleat cleat
