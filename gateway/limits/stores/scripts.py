"""What runs inside Redis: each script one round trip, and on Redis' own clock.

The windows are those of the library limits: its own scripts, made functions, decide and keep the
records. Ours add what would take a second round trip, and what limits does not have.

An account is a hash: `spent`, `until` (unix milliseconds, once it was seeded), and what each
holder holds by the holder's id. A holder lives while its heartbeat's key does.
"""

from limits.storage import RedisStorage

from gateway.limits.stores import DAY, WEEK


def function(name, script):
    """Make a script a Lua function whose parameters stand in for KEYS and ARGV."""
    return f"local function {name}(KEYS, ARGV)\n{script.decode()}\nend\n"


ROLL = function("roll", RedisStorage.SCRIPT_SLIDING_WINDOW)
ACQUIRE = function("acquire", RedisStorage.SCRIPT_ACQUIRE_SLIDING_WINDOW)
ACQUIRE_EACH = function("acquire", RedisStorage.SCRIPT_ACQUIRE_MOVING_WINDOW)
COUNT_EACH = function("count", RedisStorage.SCRIPT_MOVING_WINDOW)
NOW = """
local time = redis.call('time')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
"""

# KEYS: the window before, the running one. ARGV: limit, seconds, amount, least (-1: none).
# Returns what was taken, the two counts, and the milliseconds that the running window is kept.
HIT = f"""{ROLL}{ACQUIRE}
local limit, seconds = tonumber(ARGV[1]), tonumber(ARGV[2])
local amount, least = tonumber(ARGV[3]), tonumber(ARGV[4])
local window = roll(KEYS, {{seconds}})
local before, current = tonumber(window[1] or 0), tonumber(window[3] or 0)
local weight = math.max(tonumber(window[2]), 0) / (seconds * 1000)
local room = limit - math.floor(before * weight) - current
if amount > room and least > 0 and room >= least then amount = room end
local taken = 0
if amount > 0 and acquire(KEYS, {{limit, seconds, amount}}) then taken = amount end
return {{taken, before, current + taken, redis.call('pttl', KEYS[2])}}
"""

# KEYS: the window before, the running one. ARGV: seconds, amount, its age in seconds.
ADD = f"""{ROLL}
local seconds, amount, age = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = tonumber(roll(KEYS, {{seconds}})[4])
local ran = 2 * seconds - kept / 1000 + 0.01 -- more than the rounding of both clocks
if amount > 0 then
    if kept > 0 then
        redis.call('incrby', KEYS[2], amount)
    else
        redis.call('set', KEYS[2], amount, 'PX', 2 * seconds * 1000)
    end
elseif kept > 0 then
    local key = age <= ran and KEYS[2] or KEYS[1]
    local count = tonumber(redis.call('get', key) or 0)
    if count > 0 and age <= ran + seconds then
        redis.call('incrby', key, math.max(amount, -count))
    end
end
return 1
"""

# KEYS: the list of hits. ARGV: limit, seconds, amount. Returns what was taken, how many hits there
# are, the microseconds since the newest of them and since the one that has to go first.
HIT_EACH = f"""{ACQUIRE_EACH}{COUNT_EACH}{NOW}
local limit, seconds, amount = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local taken = 0
if amount > 0 and acquire(KEYS, {{now, limit, seconds, amount}}) then taken = amount end
local found = count(KEYS, {{now - seconds, limit}})
local function age(index)
    local at = tonumber(redis.call('lindex', KEYS[1], index) or now - seconds)
    return math.floor((now - at) * 1000000)
end
return {{taken, found and found[2] or 0, age(0), age(math.max(limit - amount, 0))}}
"""

# KEYS: the list of hits. ARGV: seconds, amount. What is given back are the newest.
ADD_EACH = f"""{NOW}
for _ = 1, tonumber(ARGV[2]) do redis.call('lpush', KEYS[1], now) end
for _ = 1, -tonumber(ARGV[2]) do
    if not redis.call('lpop', KEYS[1]) then break end
end
redis.call('expire', KEYS[1], ARGV[1])
return 1
"""

ACCOUNT = f"""{NOW}
local function touch(key)
    local left = tonumber(redis.call('hget', key, 'until') or 0) - now * 1000
    if left <= 0 then left = {DAY * 1000} end
    redis.call('pexpire', key, math.floor(math.min(left, {WEEK * 1000})))
end
"""

# KEYS: the account, the caller's heartbeat. ARGV: the caller, what heartbeats' keys begin with,
# limit, amount, least (-1: none). Returns what was taken (-1: the heartbeat has stopped) and what
# is left.
TAKE = f"""{ACCOUNT}
if redis.call('exists', KEYS[2]) == 0 then return {{-1, 0}} end
local limit, amount, least = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local fields = redis.call('hgetall', KEYS[1])
local room = limit
for i = 1, #fields, 2 do
    if fields[i] ~= 'until' then room = room - tonumber(fields[i + 1]) end
end
if room < amount then
    for i = 1, #fields, 2 do
        local id = fields[i]
        if id ~= 'until' and id ~= 'spent' and id ~= ARGV[1]
                and redis.call('exists', ARGV[2] .. id) == 0 then
            redis.call('hdel', KEYS[1], id)
            room = room + tonumber(fields[i + 1])
        end
    end
end
if amount > room and least > 0 and room >= least then amount = room end
if amount > room or amount <= 0 then return {{0, math.max(room, 0)}} end
redis.call('hincrby', KEYS[1], ARGV[1], amount)
touch(KEYS[1])
return {{amount, room - amount}}
"""

# KEYS: the account, the caller's heartbeat. ARGV: the caller, what it gives back, what it used.
# Returns 1, or 0 where the heartbeat has stopped: then nothing is held any more.
SETTLE = f"""{ACCOUNT}
local amount, used = tonumber(ARGV[2]), tonumber(ARGV[3])
local lives = redis.call('exists', KEYS[2])
if amount > 0 and lives == 1 then
    local held = tonumber(redis.call('hget', KEYS[1], ARGV[1]) or 0)
    if held > amount then
        redis.call('hincrby', KEYS[1], ARGV[1], -amount)
    else
        redis.call('hdel', KEYS[1], ARGV[1])
    end
end
if used > 0 then
    redis.call('hincrby', KEYS[1], 'spent', used)
    touch(KEYS[1])
end
return lives
"""

# KEYS: the account. ARGV: what is spent at least, when the period ends (unix milliseconds).
SEED = f"""{ACCOUNT}
local spent = tonumber(redis.call('hget', KEYS[1], 'spent') or 0)
if tonumber(ARGV[1]) > spent then redis.call('hset', KEYS[1], 'spent', ARGV[1]) end
redis.call('hset', KEYS[1], 'until', ARGV[2])
touch(KEYS[1])
if tonumber(ARGV[2]) <= now * 1000 then redis.call('del', KEYS[1]) end
return 1
"""

# KEYS: the account, the caller's heartbeat. ARGV: the caller, what it has held all along.
HOLD = f"""{ACCOUNT}
if redis.call('exists', KEYS[2]) == 0 then return 0 end
redis.call('hincrby', KEYS[1], ARGV[1], ARGV[2])
touch(KEYS[1])
return 1
"""

# KEYS: the caller's heartbeat, that of what it was before. ARGV: milliseconds to live.
BEGIN = """
redis.call('del', KEYS[2])
redis.call('set', KEYS[1], 1, 'PX', ARGV[1])
return 1
"""

# KEYS: the caller's heartbeat. ARGV: milliseconds to live. Returns 0 where it has stopped.
BEAT = "return redis.call('pexpire', KEYS[1], ARGV[1])"
