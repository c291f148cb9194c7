#!/bin/sh
# /usr/local/bin/gateway: any command of the gateway, as root, with what gateway.service gives it: the
# account, the secrets in /etc/gateway/env and the state folder. Without these `gateway` would miss
# the keys that gateway.toml takes by ${NAME}, and look for the state beside the configuration.
exec systemd-run --quiet --wait --collect --pipe --pty \
    --property=User=gateway \
    --property=Group=gateway \
    --property=StateDirectory=gateway \
    --property=StateDirectoryMode=0700 \
    --property=EnvironmentFile=-/etc/gateway/env \
    --property=Environment=GATEWAY_CONFIG=/etc/gateway/gateway.toml \
    --property=LimitNOFILE=65536 \
    --property=UMask=0077 \
    --property="WorkingDirectory=-$PWD" \
    -- /opt/gateway/current/bin/gateway "$@"
