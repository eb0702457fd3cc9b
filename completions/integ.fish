complete --keep-order --exclusive --command integ --arguments "(COMPLETE=fish integ -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
