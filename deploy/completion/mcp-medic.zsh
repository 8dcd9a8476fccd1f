#compdef mcp-medic
# For /usr/share/zsh/vendor-completions/_mcp-medic, or source it in ~/.zshrc. Generated: python -m stack.completion

_mcp_medic_completion() {
    local -a completions
    local -a completions_with_descriptions
    local -a response
    (( ! $+commands[mcp-medic] )) && return 1

    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) _MCP_MEDIC_COMPLETE=zsh_complete mcp-medic)}")

    for type key descr in ${response}; do
        if [[ "$type" == "plain" ]]; then
            if [[ "$descr" == "_" ]]; then
                completions+=("$key")
            else
                completions_with_descriptions+=("$key":"$descr")
            fi
        elif [[ "$type" == "dir" ]]; then
            _path_files -/
        elif [[ "$type" == "file" ]]; then
            _path_files -f
        fi
    done

    if [ -n "$completions_with_descriptions" ]; then
        _describe -V unsorted completions_with_descriptions -U
    fi

    if [ -n "$completions" ]; then
        compadd -U -V unsorted -a completions
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    # autoload from fpath, call function directly
    _mcp_medic_completion "$@"
else
    # eval/source/. command, register function for later
    compdef _mcp_medic_completion mcp-medic
fi
