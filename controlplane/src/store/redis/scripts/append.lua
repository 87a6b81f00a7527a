-- Appends events at the next offsets, changes the participants and publishes the events, in one step. If a server
-- repeats events with the same sequence numbers (seq), they keep their offsets and are not appended again.
-- KEYS meta history participants presence owners
-- ARGV server seq channel head history_events room_ms presence_ms (body change participant json)*
-- An event whose change may be refused is alone in its call. Numbers are below 10^14: Lua writes larger ones with exponents.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'a:' .. ARGV[1], 'bare')
local epoch = meta[1]
if not epoch then return { 'noroom' } end
local count, seq = (#ARGV - 7) / 4, tonumber(ARGV[2])
if meta[3] then
    local first, last, offset = string.match(meta[3], '^(%d+)%-(%d+):(%d+)$')
    if first and seq >= tonumber(first) and seq <= tonumber(last) then
        return { 'ok', epoch, tonumber(offset) + seq - tonumber(first), math.min(count, tonumber(last) - seq + 1) }
    end
end
local change, participant = ARGV[9], ARGV[10]
if change == 'remove-ours' then
    local owner = redis.call('HGET', KEYS[5], participant)
    if owner and owner ~= ARGV[1] then return { 'notours' } end
elseif change == 'remove-absent' then
    local time = redis.call('TIME')
    local until_ms = redis.call('ZSCORE', KEYS[4], participant)
    local is_present = until_ms and tonumber(until_ms) >= time[1] * 1000 + math.floor(time[2] / 1000)
    if is_present or redis.call('HEXISTS', KEYS[3], participant) == 0 then return { 'notours' } end
end
local before = tonumber(meta[2])
local first = before + 1
local events, is_fresh = nil, before == 0 or meta[4]
for i = 1, count do
    local at = 4 + 4 * i
    local event = '{' .. ARGV[at] .. '}'
    redis.call('XADD', KEYS[2], 'MAXLEN', '=', ARGV[5], before + i .. '-0', 'e', event)
    if count == 1 then events = event else events = events or {}; events[i] = event end
    change, participant = ARGV[at + 1], ARGV[at + 2]
    if change == 'put' then
        is_fresh = true
        if redis.call('HSET', KEYS[3], participant, ARGV[at + 3]) == 1 then
            local time = redis.call('TIME')
            redis.call('ZADD', KEYS[4], time[1] * 1000 + ARGV[7], participant)
            redis.call('HSET', KEYS[5], participant, ARGV[1])
        end
    elseif change ~= 'none' then
        is_fresh = true
        redis.call('HDEL', KEYS[3], participant)
        redis.call('ZREM', KEYS[4], participant)
        redis.call('HDEL', KEYS[5], participant)
    end
end
redis.call('HSET', KEYS[1], 'offset', before + count, 'a:' .. ARGV[1], seq .. '-' .. seq + count - 1 .. ':' .. first)
-- Servers of the room renew the TTL of its keys. Keys that were created just now need a TTL until then.
if is_fresh then
    for i = 1, 5 do redis.call('PEXPIRE', KEYS[i], ARGV[6]) end
    if meta[4] then redis.call('HDEL', KEYS[1], 'bare') end
end
if count > 1 then events = table.concat(events, ',') end
redis.call('SPUBLISH', ARGV[3], ARGV[4] .. '"epoch":"' .. epoch .. '","offset":' .. first .. ',"events":[' .. events .. ']}')
return { 'ok', epoch, first, count }
