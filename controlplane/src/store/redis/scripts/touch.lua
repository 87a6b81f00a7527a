-- Renews the presence of participants and the TTL of the room's keys. Returns epoch and offset of the history.
-- KEYS meta history participants presence owners readers; ARGV server room_ms reader_ms presence_ms participant...
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
if not meta[1] then return { 'noroom' } end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[6], now + ARGV[3], ARGV[1])
for i = 5, #ARGV do
    if redis.call('HEXISTS', KEYS[3], ARGV[i]) == 1 then
        redis.call('ZADD', KEYS[4], now + ARGV[4], ARGV[i])
    end
end
for i = 1, 6 do redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
return { 'ok', meta[1], tonumber(meta[2]) }
