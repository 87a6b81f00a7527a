-- Opens a room; creates it with a new epoch if it does not exist. Returns epoch, offset and participants.
-- KEYS meta participants readers; ARGV server epoch room_ms reader_ms
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
    epoch = ARGV[2]
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', 0)
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[3], time[1] * 1000 + ARGV[4], ARGV[1])
for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
return { epoch, tonumber(redis.call('HGET', KEYS[1], 'offset')), redis.call('HVALS', KEYS[2]) }
