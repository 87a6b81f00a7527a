-- Gives events the next numbers, keeps them, changes the participants and publishes them together. Events of the
-- same node, asked for again under the same numbers of that node, keep theirs.
-- KEYS meta history participants presence owners
-- ARGV node seq channel head history_events room_ms presence_ms (body change participant json)*
-- A change that may be refused comes alone.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'a:' .. ARGV[1], 'offset')
if not meta[1] then return { 'noroom' } end
local count = (#ARGV - 7) / 4
if meta[2] then
    local seq, first, last, offset = tonumber(ARGV[2]), string.match(meta[2], '^(%d+)%-(%d+):(%d+)$')
    if first and seq >= tonumber(first) and seq <= tonumber(last) then
        local known = math.min(count, tonumber(last) - seq + 1)
        return { 'ok', meta[1], tonumber(offset) + seq - tonumber(first), known }
    end
end
if ARGV[9] == 'remove-ours' then
    local owner = redis.call('HGET', KEYS[5], ARGV[10])
    if owner and owner ~= ARGV[1] then return { 'notours' } end
elseif ARGV[9] == 'remove-absent' then
    local time = redis.call('TIME')
    local until_ms = redis.call('ZSCORE', KEYS[4], ARGV[10])
    local is_present = until_ms and tonumber(until_ms) >= time[1] * 1000 + math.floor(time[2] / 1000)
    if is_present or redis.call('HEXISTS', KEYS[3], ARGV[10]) == 0 then return { 'notours' } end
end
local before = tonumber(meta[3])
local first = string.format('%.0f', before + 1)
redis.call('HSET', KEYS[1], 'offset', string.format('%.0f', before + count),
    'a:' .. ARGV[1], ARGV[2] .. '-' .. string.format('%.0f', ARGV[2] + count - 1) .. ':' .. first)
local events, changed = {}, false
for i = 1, count do
    local at = 4 + 4 * i
    local event, change, participant = '{' .. ARGV[at] .. '}', ARGV[at + 1], ARGV[at + 2]
    events[i] = event
    redis.call('XADD', KEYS[2], 'MAXLEN', '=', ARGV[5], string.format('%.0f-0', before + i), 'e', event)
    if change == 'put' then
        changed = true
        if redis.call('HSET', KEYS[3], participant, ARGV[at + 3]) == 1 then
            local time = redis.call('TIME')
            redis.call('ZADD', KEYS[4], time[1] * 1000 + ARGV[7], participant)
            redis.call('HSET', KEYS[5], participant, ARGV[1])
        end
    elseif change ~= 'none' then
        changed = true
        redis.call('HDEL', KEYS[3], participant)
        redis.call('ZREM', KEYS[4], participant)
        redis.call('HDEL', KEYS[5], participant)
    end
end
-- Whoever serves the room touches it; what has just come into being must have an end of life until then.
if changed or redis.call('XLEN', KEYS[2]) <= count then
    for i = 1, 5 do redis.call('PEXPIRE', KEYS[i], ARGV[6]) end
end
redis.call('SPUBLISH', ARGV[3], ARGV[4] .. '"by":"' .. ARGV[1] .. '","epoch":"' .. meta[1] .. '","offset":' .. first
    .. ',"events":[' .. table.concat(events, ',') .. ']}')
return { 'ok', meta[1], before + 1, count }
