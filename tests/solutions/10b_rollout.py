"""Answers to the exercises of lesson 10b: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-10b-1
point_service(practice, before, project, settings, timeout_s=0)
yours, mine = read_service(practice, project), read_service(practice, project)
folder = f"models/{project.model}/version-"
outcome = {"refused": "nobody", "named": "none"}
for name, seen, target in (("yours", yours, after), ("mine", mine, "99")):
    try:
        move_service(practice, project, seen, folder + target)
    except ClusterError as error:
        outcome = {"refused": name, "named": re.search(r"version-(\d+) now", error.why)[1]}
print(outcome)

# %% ex-10b-1 also
outcome = {"refused": "Mine", "named": int(after)}

# %% ex-10b-1 also
outcome = {"refused": "mine", "named": f"models/credit-card-fraud/version-{after}"}

# %% ex-10b-1 wrong: look at which write came second
outcome = {"refused": "yours", "named": after}

# %% ex-10b-1 wrong: the first write raised it
outcome = {"refused": "nobody", "named": after}

# %% ex-10b-1 wrong: wanted to go
outcome = {"refused": "mine", "named": 99}

# %% ex-10b-1 wrong: served when both were read
outcome = {"refused": "mine", "named": before}

# %% ex-10b-1 wrong: Nobody moved the pointer there
outcome = {"refused": "mine", "named": "12345"}

# %% ex-10b-1 wrong: must be one version
outcome = {"refused": "mine", "named": "resourceVersion"}

# %% ex-10b-1 wrong: no answer for named
outcome = {"refused": "mine"}

# %% ex-10b-2
calls = {
    "print_move": "reads, and sends no change",
    "dry run": "sends the change, and the cluster keeps nothing",
    "timeout_s=0": "sends the change, and the cluster keeps it",
}

# %% ex-10b-2 also
calls = {name: step.capitalize() + "." for name, step in zip(("print_move", "dry run", "timeout_s=0"), steps)}

# %% ex-10b-2 wrong: asks nobody
calls = {"print_move": steps[1], "dry run": steps[0], "timeout_s=0": steps[2]}

# %% ex-10b-2 wrong: below its dry run
calls = {"print_move": steps[0], "dry run": steps[0], "timeout_s=0": steps[2]}

# %% ex-10b-2 wrong: it is where it was
calls = {"print_move": steps[0], "dry run": steps[2], "timeout_s=0": steps[2]}

# %% ex-10b-2 wrong: Only the waiting is left out
calls = {"print_move": steps[0], "dry run": steps[1], "timeout_s=0": steps[1]}

# %% ex-10b-2 wrong: must be one of
calls = {"print_move": "nothing", "dry run": steps[1], "timeout_s=0": steps[2]}

# %% ex-10b-2 wrong: no answer for timeout_s=0
calls = {"print_move": steps[0], "dry run": steps[1]}
