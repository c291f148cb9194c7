"""The soak: minutes of mixed load on a gateway that is reloaded and killed; `make soak`.

place     the processes: upstream, gunicorn, job worker, and the gateway's commands
upstream  the scripted upstream and its book
client    requests over sockets, and how their answers ended
calls     kinds of calls over one request
deferred  kinds that outlive their request: jobs, background responses
twice     kinds with an Idempotency-Key
kinds     the table of kinds: how often, and what may come of each
load      makes calls at a steady rate
aside     what operators do meanwhile: reloads, kills, keys, probes
samples   memory, descriptors and CPU over time
books     what client, upstream, log and database have written down
explained which ends of calls and which missing rows a kill explains
checks    what has to be true at the end
report    tables; `plots` draws
"""
