-- Creates a room from a server's copy, if it does not exist. Returns its epoch and offset, the epoch before that and the
-- last common offset, and whether the room was created.
-- KEYS meta history participants presence owners readers
-- ARGV server epoch offset room_ms reader_ms presence_ms n (participant json)*n (offset event)*
local time = redis.call('TIME')
local now = time[1] * 1000
redis.call('ZADD', KEYS[6], now + ARGV[5], ARGV[1])
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'was', 'common')
local is_made = 0
if not meta[1] then
    redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
    redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'offset', ARGV[3])
    local first = 8 + 2 * ARGV[7]
    for i = 8, first - 1, 2 do
        redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
        redis.call('ZADD', KEYS[4], now + ARGV[6], ARGV[i])
    end
    -- The history has no events, so its key does not exist yet. append.lua sets its TTL.
    if first > #ARGV then redis.call('HSET', KEYS[1], 'bare', 1) end
    for i = first, #ARGV, 2 do redis.call('XADD', KEYS[2], ARGV[i] .. '-0', 'e', ARGV[i + 1]) end
    meta, is_made = { ARGV[2], ARGV[3] }, 1
end
for i = 1, 6 do redis.call('PEXPIRE', KEYS[i], ARGV[4]) end
return { meta[1], tonumber(meta[2]), meta[3] or '', tonumber(meta[4] or 0), is_made }
