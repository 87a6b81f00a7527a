-- Gives an event the next number, keeps it, changes the participants and publishes it. The same event of the
-- same node, asked for again, keeps its number.
-- KEYS meta history participants presence owners
-- ARGV node seq channel head body change participant json history_events room_ms presence_ms
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'a:' .. ARGV[1])
if not meta[1] then return { 'noroom' } end
if meta[2] then
    local seq, offset = string.match(meta[2], '^(%d+):(%d+)$')
    if seq == ARGV[2] then return { 'ok', meta[1], tonumber(offset) } end
end
if ARGV[6] == 'remove-ours' then
    local owner = redis.call('HGET', KEYS[5], ARGV[7])
    if owner and owner ~= ARGV[1] then return { 'notours' } end
end
if ARGV[6] == 'remove-absent' then
    local time = redis.call('TIME')
    local until_ms = redis.call('ZSCORE', KEYS[4], ARGV[7])
    local is_present = until_ms and tonumber(until_ms) >= time[1] * 1000 + math.floor(time[2] / 1000)
    if is_present or redis.call('HEXISTS', KEYS[3], ARGV[7]) == 0 then return { 'notours' } end
end
local offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
local number = string.format('%.0f', offset)
redis.call('HSET', KEYS[1], 'a:' .. ARGV[1], ARGV[2] .. ':' .. number)
redis.call('XADD', KEYS[2], 'MAXLEN', '=', ARGV[9], number .. '-0', 'e', '{' .. ARGV[5] .. '}')
if ARGV[6] == 'put' then
    local is_new = redis.call('HSET', KEYS[3], ARGV[7], ARGV[8]) == 1
    if is_new then
        local time = redis.call('TIME')
        redis.call('ZADD', KEYS[4], time[1] * 1000 + ARGV[11], ARGV[7])
        redis.call('HSET', KEYS[5], ARGV[7], ARGV[1])
    end
elseif ARGV[6] ~= 'none' then
    redis.call('HDEL', KEYS[3], ARGV[7])
    redis.call('ZREM', KEYS[4], ARGV[7])
    redis.call('HDEL', KEYS[5], ARGV[7])
end
-- Whoever serves the room touches it; what has just come into being must have an end of life until then.
if ARGV[6] ~= 'none' or redis.call('XLEN', KEYS[2]) == 1 then
    for i = 1, 5 do redis.call('PEXPIRE', KEYS[i], ARGV[10]) end
end
redis.call('SPUBLISH', ARGV[3], ARGV[4] .. '"epoch":"' .. meta[1] .. '","offset":' .. number .. ',' .. ARGV[5] .. '}')
return { 'ok', meta[1], offset }
